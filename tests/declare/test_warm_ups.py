"""Forks: warm-ups and bases that rows share, and rows that continue another method's training."""

import pytest

from tests.declare.rows import at
from wsis.declare.load import DeclarationError
from wsis.declare.recipe import Recipe
from wsis.declare.resolve import resolve
from wsis.declare.scale import load_scale


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


def test_a_users_override_wins_over_what_a_fork_sets(tables):
    wanted = {"schedule.iterations": 7, "schedule": {"lr": 0.5}, "loss.projection": True}
    resolved = at(tables, "boxinst/1a", "tau = 0.1", "tiny", overrides=wanted)
    (warmup,) = resolved.ancestors
    assert (resolved.recipe.schedule.total, resolved.recipe.schedule.lr) == (7, 0.5)
    assert (warmup.schedule.total, warmup.schedule.lr) == (7, 0.5)
    assert not warmup.loss.projection  # or it would be no detector alone
    assert resolved.recipe.init.parent == warmup.id


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
