"""What a shorter schedule, a smaller batch or other data imply, unless the user decides it."""

import pytest

from tests.declare.rows import at
from wsis.declare.load import DeclarationError
from wsis.declare.settings import flatten


def test_milestones_keep_their_share_and_lr_follows_the_batch(tables):
    once = at(tables, "boxinst/1a", "tau = 0.1", "mini").recipe.schedule
    thrice = at(tables, "boxinst/4", "BoxInst R-50 3x", "mini").recipe.schedule
    assert [m / once.total for m in once.milestones] == pytest.approx([60 / 90, 80 / 90])
    assert [m / thrice.total for m in thrice.milestones] == pytest.approx([210 / 270, 250 / 270])
    small = at(tables, "boxinst/1a", "tau = 0.1", "mini", overrides={"schedule.batch": 4}).recipe.schedule
    assert small.lr == pytest.approx(0.01 * 4 / 16)
    chosen = {"schedule.batch": 4, "schedule.lr": 0.5, "schedule.iterations": 90, "schedule.milestones": [7]}
    own = at(tables, "boxinst/1a", "tau = 0.1", "mini", overrides=chosen).recipe.schedule
    assert (own.lr, own.milestones) == (0.5, (7,))


def test_momentum_and_warm_up_keep_their_share_of_a_shorter_schedule(tables):
    recipe = at(tables, "sim/4", "alpha = 0.5", "mini").recipe
    published = at(tables, "sim/4", "alpha = 0.5", "mini").published
    paper = published.schedule.total - published.sim.warmup
    here = recipe.schedule.total - recipe.sim.warmup
    assert recipe.sim.warmup / recipe.schedule.total == pytest.approx(
        published.sim.warmup / published.schedule.total, rel=0.01
    )
    assert (1 - recipe.sim.ema) * here == pytest.approx((1 - published.sim.ema) * paper, rel=0.01)


def test_a_warm_up_that_leaves_nothing_is_refused(tables):
    with pytest.raises(DeclarationError, match=r"warm-up of 90000 iterations leaves nothing of 90000"):
        at(tables, "sim/4", "alpha = 0.5", "paper", overrides={"sim.warmup": 90000})


def test_a_users_shorter_schedule_shortens_the_scales_warm_up_too(tables):
    recipe = at(tables, "sim/4", "alpha = 0.5", "tiny", overrides={"schedule.iterations": 100}).recipe
    usual = at(tables, "sim/4", "alpha = 0.5", "tiny").recipe
    assert recipe.sim.warmup / 100 == usual.sim.warmup / usual.schedule.total
    assert recipe.init.iteration == recipe.sim.warmup
    one = at(tables, "sim/4", "alpha = 0.5", "smoke", overrides={"schedule.iterations": 1}).recipe
    assert one.sim.warmup == 0
    kept = at(tables, "sim/4", "alpha = 0.5", "tiny", overrides={"schedule.iterations": 100, "sim.warmup": 7})
    assert kept.recipe.sim.warmup == 7


SHARES = {  # table, row -> warm-ups that follow a schedule of the user's
    ("boxinst/3", "projection + pairwise"): ("schedule.warmup", "loss.pairwise.warmup"),
    ("sim/5", "L = 50"): ("schedule.warmup", "loss.pairwise.warmup", "sim.warmup"),
    ("baiseg/3", "CFM + DMA + PPC + refinement"): ("schedule.warmup", "baiseg.contrast_warmup"),
}


@pytest.mark.parametrize("scale", ["tiny", "mini", "paper"])
@pytest.mark.parametrize("cell", SHARES)
def test_warm_ups_keep_their_share_of_a_schedule_that_the_user_shortens(tables, scale, cell):
    def chain(overrides):
        resolved = at(tables, *cell, scale, overrides=overrides)
        return [recipe.settled() for recipe in (*resolved.ancestors, resolved.recipe)]

    for usual, short in zip(chain(None), chain({"schedule.iterations": 100}), strict=True):
        if not usual.schedule.total:
            continue  # another reading
        before, now = (flatten(recipe.model_dump(mode="json")) for recipe in (usual, short))
        for key in (key for key in SHARES[cell] if before.get(key)):
            share = before[key] / usual.schedule.total
            assert now[key] == pytest.approx(max(share * short.schedule.total, 1), abs=0.51), key


def test_a_warm_up_that_the_user_sets_stays(tables):
    over = {"schedule.iterations": 100, "schedule.warmup": 77, "loss.pairwise.warmup": 0}
    for scale in ("tiny", "mini"):
        recipe = at(tables, "boxinst/3", "projection + pairwise", scale, overrides=over).recipe
        assert (recipe.schedule.warmup, recipe.loss.pairwise.warmup) == (77, 0)


def test_a_longer_schedule_and_other_settings_leave_warm_ups_alone(tables):
    usual = at(tables, "boxinst/3", "projection + pairwise", "tiny").recipe
    for over in ({"schedule.iterations": 9000}, {"schedule.lr": 0.5}):
        recipe = at(tables, "boxinst/3", "projection + pairwise", "tiny", overrides=over).recipe
        assert recipe.schedule.warmup == usual.schedule.warmup
        assert recipe.loss.pairwise.warmup == usual.loss.pairwise.warmup


def test_the_second_stages_warm_up_follows_its_own_iterations(tables):
    usual = at(tables, "boxcaseg/8", "0.95", "mini", overrides={"schedule.iterations": 9}).recipe
    short = at(tables, "boxcaseg/8", "0.95", "mini", overrides={"boxcaseg.proxy_iterations": 45}).recipe
    assert usual.method == short.method == "mask_rcnn"
    assert (usual.schedule.iterations, short.schedule.iterations) == (4500, 45)
    assert (usual.schedule.warmup, short.schedule.warmup) == (250, 2)


def test_a_tiny_backbone_brings_its_widths_where_a_user_chooses_it(tables):
    tiny = at(tables, "boxinst/3", "projection", "tiny").recipe.model
    for scale in ("mini", "paper"):
        over = {"model.backbone": "tiny", "model.head_channels": 16}
        model = at(tables, "boxinst/3", "projection", scale, overrides=over).recipe.model
        assert (model.channels, model.mask_channels, model.tower_convs) == (32, 8, 1)
        assert model.head_channels == 16 and model.weights == "none"
        assert tiny.model_copy(update={"head_channels": 16, "trained": "all"}) == model
    same = at(tables, "boxinst/3", "projection", "smoke", overrides={"model.backbone": "tiny"})
    assert same == at(tables, "boxinst/3", "projection", "smoke")


@pytest.mark.parametrize("scale", ["tiny", "mini", "paper"])
@pytest.mark.parametrize("cell", [("sim/4", "alpha = 0.5"), ("boxcaseg/8", "0.95"), ("baiseg/3", "CFM")])
def test_a_method_without_its_section_is_refused(tables, cell, scale):
    name = cell[0].partition("/")[0]
    with pytest.raises(DeclarationError, match=f"needs the section '{name}'"):
        at(tables, *cell, scale, overrides={name: None})
