"""From a row to its recipe at a scale: forks, substitution, proportions, deviations."""

import pytest

from wsis.declare.deviations import differences
from wsis.declare.load import DeclarationError, load_tables, merged, parse
from wsis.declare.recipe import Recipe
from wsis.declare.resolve import laid, resolve, with_seed
from wsis.declare.scale import load_scale
from wsis.declare.settings import flatten
from wsis.declare.specs.schedule import ScheduleSpec

KNOWN = {  # of rows as they are declared; detectron2 is not installed in a test
    "model.provider: detectron2 -> torchvision",
    "model.details: official -> own",
    "model.details: maskrcnn-benchmark -> own",
}


@pytest.fixture(scope="module")
def tables():
    return load_tables()


def at(tables, table, label, scale, seed=1, overrides=None):
    declared = tables[table]
    return resolve(declared, declared.row(label), load_scale(scale), seed, overrides)


def test_at_the_papers_scale_a_row_is_the_papers_recipe(tables):
    for table in tables.values():
        for row in table.rows:
            if row.kind == "train" and "masks" not in str(row.train) and "shapes" not in str(row.train):
                resolved = resolve(table, row, load_scale("paper"), seed=0)
                tree = resolved.recipe.model_dump(mode="json") | {"init": None}
                if (
                    resolved.recipe.init and not resolved.recipe.init.iteration
                ):  # another reading of a training
                    assert resolved.recipe.schedule.total == 0
                    tree["schedule"] = resolved.published.model_dump(mode="json")["schedule"]
                for key in ("provider", "details"):  # the paper's, until they are resolved
                    tree["model"][key] = getattr(resolved.published.model, key)
                alone = parse(Recipe, tree, "here")
                assert alone.id == resolved.published.id
                assert set(differences(resolved.published, resolved.recipe)) <= KNOWN


@pytest.mark.parametrize("name", ["smoke", "tiny", "mini", "paper"])
def test_a_resolved_row_takes_another_seed_as_if_it_were_resolved_with_it(tables, name):
    """Whole results are compared: recipes, ancestors and the ids that they name."""
    scale = load_scale(name)
    for table in tables.values():
        for row in table.rows:
            if row.kind == "train" and (resolved := resolve(table, row, scale, seed=3)).recipe is not None:
                again = resolve(table, row, scale, seed=4)
                assert with_seed(resolved, 4) == again
                assert again.recipe.id != resolved.recipe.id


def test_rows_of_a_table_differ_from_each_other_only_in_what_they_vary(tables):
    for scale in ("tiny", "mini"):
        trees = {
            label: flatten(at(tables, "boxinst/1a", label, scale).recipe.model_dump(mode="json"))
            for label in ("tau = 0", "tau = 0.1", "tau = 0.2")
        }
        first = trees["tau = 0"]
        for tree in trees.values():
            assert {key for key in first if tree[key] != first[key]} <= {"loss.pairwise.tau"}


def test_forked_rows_share_one_warm_up_a_seed(tables):
    parents = {
        at(tables, table, label, "tiny", seed).recipe.init.parent
        for table, label in [
            ("boxinst/1a", "tau = 0"),
            ("boxinst/2", "Dice loss"),
            ("boxinst/3", "projection"),
        ]
        for seed in (1, 1)
    }
    assert len(parents) == 1
    other = at(tables, "boxinst/1a", "tau = 0", "tiny", seed=2).recipe.init.parent
    assert other not in parents


@pytest.mark.parametrize("scale", ["smoke", "tiny"])
def test_rows_that_weigh_mask_terms_otherwise_share_the_detector(tables, scale):
    table = tables["boxinst/1a"]
    rows = {}
    for name, weights in (("plain", {}), ("masks", {"pairwise": 2.0}), ("detector", {"detection": 2.0})):
        train = {f"loss.weights.{term}": weight for term, weight in weights.items()}
        row = table.row("tau = 0.1").model_copy(update={"train": train})
        rows[name] = resolve(table, row, load_scale(scale), 1).recipe
    assert len({row.id for row in rows.values()}) == 3
    assert rows["plain"].init == rows["masks"].init != rows["detector"].init


def test_the_warm_up_is_a_detector_that_no_mask_loss_has_touched(tables):
    """Otherwise a row would inherit a supervision that its own recipe withholds."""
    rows = [("boxinst/1a", "fully-sup."), ("boxinst/3", "projection"), ("boxinst/6", "neither term")]
    warmups = [at(tables, table, label, "tiny").ancestors[0] for table, label in rows]
    assert len({warmup.id for warmup in warmups}) == 1
    assert warmups[0].data.supervision == "boxes"
    assert (warmups[0].loss.full, warmups[0].loss.projection, warmups[0].loss.pairwise) == (
        "none",
        False,
        None,
    )


@pytest.mark.parametrize("scale", ["smoke", "tiny"])
def test_what_only_the_masks_part_is_about_leaves_a_base_as_it_is(tables, scale):
    """Rows of one network, data and schedule have one base a seed, and learn nothing but masks on it."""
    detector, settings = ("boxinst", "condinst", "sim"), {}
    for table in tables.values():
        for row in (row for row in table.rows if row.kind == "train"):
            resolved = at(tables, table.key, row.label, scale)
            for base in (a for a in resolved.ancestors if a.model.trained == "base"):
                assert base.init is None and base.proxy is None
                assert base.data.supervision == ("semantic" if base.method == "baiseg" else "boxes")
                own = base.baiseg and (base.baiseg.multi_scale, base.baiseg.stage_dim, base.baiseg.crop)
                network = (base.method, base.model, own, base.data.shapes, base.schedule)
                settings.setdefault(network, set()).add(base.id)
                rows = [
                    r for r in (*resolved.ancestors, resolved.recipe) if r.init and r.init.parent == base.id
                ]
                assert rows and all(recipe.model.trained == "masks" for recipe in rows)
                for recipe in rows:
                    assert recipe.method == base.method or {recipe.method, base.method} <= {*detector}
                    assert recipe.model == base.model.model_copy(update={"trained": "masks"})
    assert all(len(ids) == 1 for ids in settings.values())
    assert {network[0] for network in settings} == {"boxinst", "mask_rcnn", "baiseg"}


def test_masks_alone_need_a_base_and_the_message_names_the_key(tables):
    with pytest.raises(
        DeclarationError, match=r"boxinst/3, row .*\n?.*model.trained 'masks' needs .*init.parent"
    ):
        at(tables, "boxinst/3", "projection", "mini", overrides={"model.trained": "masks"})
    with pytest.raises(ValueError, match=r"model\.trained"):
        Recipe(method="boxinst", model={"trained": "masks"})
    resolved = at(tables, "boxinst/3", "projection", "tiny", overrides={"model.trained": "all"})
    (base,) = resolved.ancestors
    assert (resolved.recipe.model.trained, base.model.trained) == ("all", "base"), "the base stays a base"


def test_a_term_that_is_off_stays_off_whatever_the_scale_sets(tables):
    for scale in ("smoke", "tiny", "mini"):
        assert at(tables, "boxinst/3", "projection", scale).recipe.loss.pairwise is None
    assert laid({"loss": {"pairwise": None}}, {"loss.pairwise.warmup": 3}) == {"loss": {"pairwise": None}}
    assert merged({"loss": {"pairwise": None}}, {"loss.pairwise.warmup": 3})["loss"]["pairwise"] == {
        "warmup": 3
    }


def test_box_masks_are_a_prediction_of_the_trained_run(tables):
    for scale in ("tiny", "paper"):
        resolved = at(tables, "boxinst/3", "box mask", scale)
        trained = resolved.ancestors[-1]
        assert resolved.recipe.schedule.total == 0
        assert resolved.recipe.init.parent == trained.id
        assert trained.id == at(tables, "boxinst/3", "projection + pairwise", scale).recipe.id


def test_what_a_scale_cannot_show_has_a_reason(tables):
    assert "resnet101" in at(tables, "boxinst/4", "BoxInst R-101 3x", "tiny").reason
    assert "data.short_side" in at(tables, "boxinst/4", "BoxInst+ R-101 1x, no aug.", "mini").reason


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


def test_deviations_name_key_and_both_values(tables):
    resolved = at(tables, "boxinst/1a", "tau = 0.1", "tiny")
    lines = differences(resolved.published, resolved.recipe)
    assert "model.backbone: resnet50 -> tiny" in lines
    assert any(line.startswith("schedule.batch: 16 -> 8") for line in lines)
    assert not any(line.startswith("seed") for line in lines)


def test_the_released_variant_can_be_asked_for_and_leaves_what_a_row_decides(tables):
    wanted = {"variant": "released"}
    default = at(tables, "boxinst/3", "projection + pairwise", "mini", overrides=wanted).recipe
    assert default.loss.pairwise.tau == 0.3
    assert (default.loss.pairwise.normalise, default.model.head_channels) == ("supervised", 8)
    assert at(tables, "boxinst/1a", "tau = 0.2", "mini", overrides=wanted).recipe.loss.pairwise.tau == 0.2


def test_a_users_override_wins_over_what_a_fork_sets(tables):
    wanted = {"schedule.iterations": 7, "schedule": {"lr": 0.5}, "loss.projection": True}
    resolved = at(tables, "boxinst/1a", "tau = 0.1", "tiny", overrides=wanted)
    (warmup,) = resolved.ancestors
    assert (resolved.recipe.schedule.total, resolved.recipe.schedule.lr) == (7, 0.5)
    assert (warmup.schedule.total, warmup.schedule.lr) == (7, 0.5)
    assert not warmup.loss.projection  # or it would be no detector alone
    assert resolved.recipe.init.parent == warmup.id


def test_precision_may_be_a_number_as_a_command_line_gives_it():
    assert ScheduleSpec(precision=32).precision == "32"


def test_sims_rows_of_a_seed_continue_one_boxinst_warm_up(tables):
    for scale in ("smoke", "tiny", "mini", "paper"):
        rows = [at(tables, "sim/4", label, scale) for label in ("alpha = 0", "alpha = 0.5")]
        first, second = (row.recipe for row in rows)
        assert first.init == second.init and first.init.iteration == first.sim.warmup
        low = next(a for a in rows[0].ancestors if a.id == first.init.parent)
        assert low.method == "boxinst" and low.sim is None
        assert low.schedule.end == first.sim.warmup and low.schedule.total == first.schedule.total
        same = {"method", "sim", "schedule", "init"}
        assert low.model_dump(exclude=same) == first.model_dump(exclude=same)


def test_the_released_code_learns_its_own_warm_up(tables):
    resolved = at(tables, "sim/3", "released", "paper")
    assert resolved.recipe.init is None and resolved.recipe.sim.warmup == 10000
    assert resolved.recipe.loss.pairwise.tau == 0.1, "the released SIM has its own colour threshold (S11)"


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


def test_what_a_users_settings_make_impossible_is_a_reason_or_an_error(tables):
    resolved = at(tables, "sim/4", "alpha = 0.5", "tiny", overrides={"data.supervision": "masks"})
    assert resolved.recipe is None and "from boxes" in resolved.reason
    with pytest.raises(DeclarationError, match="until is for warm-ups"):
        at(tables, "sim/4", "alpha = 0.5", "mini", overrides={"schedule.until": 100})


def test_a_head_or_supervision_that_a_method_lacks_is_a_reason_of_its_rows_alone(tables):
    queries, given = {"model.head": "mask2former"}, {"data.supervision": "masks"}
    assert at(tables, "sim/4", "alpha = 0.5", "mini", overrides=queries).recipe.model.head == "mask2former"
    for table, row, over, says in (
        (
            "sim/4",
            "alpha = 0.5",
            {"model.head": "ocr"},
            "method sim has no head ocr (it has: condinst, mask2former)",
        ),
        ("boxinst/2", "Dice loss", queries, "method condinst has no head mask2former (it has: condinst)"),
        (
            "boxinst/3",
            "projection",
            queries | given,
            "method boxinst with head mask2former learns from boxes, not masks",
        ),
    ):
        resolved = at(tables, table, row, "mini", overrides=over)
        assert (resolved.recipe, resolved.reason) == (None, says)
    with pytest.raises(ValueError, match=r"'boxinst' has no head 'ocr' \(it has: condinst, mask2former\)"):
        Recipe(method="boxinst", model={"head": "ocr"})


def test_mini_takes_each_table_on_images_of_its_own_layout(tables):
    """And SBD's list, which a VOC root may lack, is VOC's own there."""
    seen = set()
    for table in tables.values():
        for row in table.rows:
            resolved = None if row.kind == "quote" else at(tables, table.key, row.label, "mini")
            if resolved is None or resolved.recipe is None:
                continue
            paper, here = resolved.published.data, resolved.recipe.data
            assert here.dataset == paper.dataset
            own = {"coco": ("train2017", "val2017"), "voc": ("train", "val")}[here.dataset]
            assert (here.train, here.eval) == own, (table.key, row.label)
            seen.add(here.dataset)
    assert seen == {"coco", "voc"}
    chosen = at(tables, "boxcaseg/7", "PASCAL", "mini", overrides={"data.train": "train_aug"})
    assert {r.data.train for r in (*chosen.ancestors, chosen.recipe)} == {"train_aug"}


def test_patches_are_drawn_from_the_union_of_the_papers_own_lists_alone(tables):
    """Elsewhere on VOC by a fixed ratio near the paper's natural one; COCO's control stays what it is."""

    def ratio(table, row, scale, **overrides):
        resolved = at(tables, table, row, scale, overrides=overrides)
        return next(r for r in (resolved.recipe, *resolved.ancestors) if r.boxcaseg).boxcaseg.ratio

    full = "Weak + salient + transferred"
    assert {ratio("boxcaseg/4", full, scale) for scale in ("smoke", "tiny", "paper")} == {"random"}
    assert ratio("boxcaseg/4", full, "mini") == ratio("boxcaseg/7", "PASCAL", "mini") == "12:4"
    assert ratio("boxcaseg/4", full, "mini", **{"data.train": "train_aug"}) == "random"
    assert ratio("boxcaseg/4", full, "mini", **{"boxcaseg.ratio": "random"}) == "random"
    assert ratio("boxcaseg/4", full, "paper", **{"data.train": "train"}) == "12:4"
    assert {ratio("boxcaseg/5", "RS", scale) for scale in ("tiny", "mini", "paper")} == {"random"}
    told = at(tables, "boxcaseg/4", full, "mini")
    assert "boxcaseg.ratio: random -> 12:4" in differences(told.published, told.recipe)


def test_a_users_settings_of_the_second_stage_leave_the_first_shared(tables):
    """Table 4's network with all heads is the one whose masks Table 7's rows learn."""
    wanted = {
        "boxcaseg.proxy_iterations": 9,
        "boxcaseg.proxy_lr": 0.1,
        "boxcaseg": {"proxy_backbone": "tiny"},
    }
    for scale in ("tiny", "mini"):
        alone = at(tables, "boxcaseg/4", "Weak + salient + transferred", scale, overrides=wanted).recipe
        both = at(tables, "boxcaseg/7", "PASCAL, merge", scale, overrides=wanted).recipe
        assert both.proxy.parent == alone.id
        assert (both.schedule.iterations, both.schedule.lr, both.model.backbone) == (9, 0.1, "tiny")


@pytest.mark.parametrize(
    ("key", "value"),
    [("alpha", -0.1), ("alpha", 1.5), ("ratio", "15:1"), ("ratio", "9:8"), ("drop", 1.1), ("patch", 0)],
)
def test_what_boxcaseg_cannot_hold_is_refused_by_name(tables, key, value):
    with pytest.raises(DeclarationError, match=rf"boxcaseg/7, row 'PASCAL'.*(\n.*)*{key}"):
        at(tables, "boxcaseg/7", "PASCAL", "tiny", overrides={f"boxcaseg.{key}": value})


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
