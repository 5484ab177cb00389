"""Rows that share a training: readings of one run, second stages, divided widths, seeds of a paper."""

import pytest

from tests.declare.rows import at
from wsis import plan as planning
from wsis.declare.deviations import differences
from wsis.declare.resolve import resolve
from wsis.declare.scale import load_scale
from wsis.declare.settings import flatten
from wsis.declare.specs.parents import InitSpec
from wsis.methods.baiseg.declared import EXTRACTION
from wsis.methods.baiseg.spec import BaisegSpec
from wsis.plan import make_plan

FULL = ("baiseg/3", "CFM + DMA + PPC + refinement")
SAME_TRAINING = [
    ("baiseg/3", "CFM + DMA + PPC"),
    ("baiseg/3", "literal extraction"),
    ("baiseg/3", "given semantics"),
    ("baiseg/3", "given semantics, no refinement"),
    ("baiseg/3", "semantic components alone"),
    ("baiseg/3", "colour gradient"),
    ("baiseg/1", "BAISeg (Semantic_gd)*"),
]
# Keys of the backbone and the semantic branch, which the rows of one network start from.
OF_BASE = {"multi_scale", "stage_dim", "hardest", "weight_semantic", "photometric"}
OTHER_TRAININGS = ["none", "CFM", "CFM + DMA"]  # without refinement, too
SCALES = ("smoke", "tiny", "mini", "paper")


def tree(recipe):
    return flatten(recipe.model_dump(mode="json"))


def differing(a, b):
    one, two = tree(a), tree(b)
    return {key for key in one.keys() | two.keys() if one.get(key) != two.get(key)}


@pytest.mark.parametrize("scale", ["smoke", "tiny"])
def test_rows_that_only_extract_otherwise_are_readings_of_the_full_model(tables, scale):
    full = at(tables, *FULL, scale)
    (base,) = full.ancestors
    assert full.recipe.schedule.total > 0 and full.recipe.init == InitSpec(parent=base.id)
    ids = {full.recipe.id}
    for row in SAME_TRAINING:
        resolved = at(tables, *row, scale)
        assert resolved.recipe.schedule.total == 0, row
        assert resolved.recipe.init.parent == full.recipe.id and resolved.recipe.init.iteration is None
        assert [ancestor.id for ancestor in resolved.ancestors] == [base.id, full.recipe.id]
        changed = differing(resolved.recipe, full.recipe)
        section_keys = {key for key in changed if key.startswith("baiseg.")}
        assert changed - section_keys <= {"init", "init.parent", "init.iteration", "schedule.iterations"}
        assert section_keys and section_keys <= {*EXTRACTION}
        ids.add(resolved.recipe.id)
    assert len(ids) == 1 + len({at(tables, *row).recipe.id for row in SAME_TRAINING}) == len(SAME_TRAINING)


def test_a_given_semantic_map_is_one_reading_in_all_tables(tables):
    resolved = [
        at(tables, *row) for row in (("baiseg/3", "given semantics"), ("baiseg/1", SAME_TRAINING[-1][1]))
    ]
    assert resolved[0].recipe.id == resolved[1].recipe.id


def test_rows_without_refinement_read_trainings_that_have_none_of_their_settings(tables):
    parents, bases = set(), set()
    for label in OTHER_TRAININGS:
        resolved = at(tables, "baiseg/3", label)
        base, trained = resolved.ancestors
        assert trained.init.parent == base.id
        assert resolved.recipe.schedule.total == 0 and resolved.recipe.init.parent == trained.id
        assert not resolved.recipe.baiseg.refine and trained.baiseg.refine
        for switch in ("cfm", "dma", "ppc"):
            assert getattr(trained.baiseg, switch) == getattr(resolved.published.baiseg, switch)
        parents.add(trained.id)
        bases.add(base.id)
    full = at(tables, *FULL)
    assert len(parents | {full.recipe.id}) == 4 and bases == {full.ancestors[0].id}


@pytest.mark.parametrize(
    ("key", "label"),
    [("baiseg/3", "instance contours"), ("baiseg/4", "1"), ("baiseg/5", "32"), ("baiseg/7", "0.5")],
)
def test_rows_that_train_otherwise_are_trainings(tables, key, label):
    resolved, full = at(tables, key, label), at(tables, *FULL)
    assert resolved.recipe.schedule.total == full.recipe.schedule.total > 0
    assert [ancestor.id for ancestor in resolved.ancestors] == [resolved.recipe.init.parent]
    assert resolved.recipe.init == full.recipe.init, "both start from one base"
    assert len(differing(resolved.recipe, full.recipe)) == 1


@pytest.mark.parametrize("scale", SCALES)
def test_the_chosen_setting_is_one_run_in_all_tables(tables, scale):
    rows = [
        FULL, ("baiseg/1", "BAISeg (Semantic_gd)"), ("baiseg/4", "4"), ("baiseg/5", "128"),
        ("baiseg/6", "HRNet-W48, dim 48"), ("baiseg/7", "0.2"),
    ]  # fmt: skip
    assert len({at(tables, *row, scale).recipe.id for row in rows}) == 1


def test_every_extraction_key_alone_makes_a_reading(tables):
    """And no other key of the section does: a key that is missing in EXTRACTION would train twice."""
    table = tables["baiseg/3"]
    full, row = at(tables, *FULL).recipe, table.row(FULL[1])
    other = {
        "boundary": "gradient", "threshold": 0.4, "dev_images": 7, "thin": False, "seeds": "literal",
        "relief": "image", "min_area": 9, "refine": False, "closing": 7, "eval_semantics": "ground_truth",
        "cfm": False, "dma": False, "cascades": 2, "dim": 64, "reduction": 8, "multi_scale": True,
        "stage_dim": 64, "ppc": False, "temperature": 0.7, "samples": 333, "views": 50, "contrast_warmup": 10,
        "hardest": 0.5, "weight_ppc": 0.1, "weight_boundary": 1.0, "weight_semantic": 2.0, "crop": 48,
        "photometric": True,
    }  # fmt: skip
    assert other.keys() == set(BaisegSpec.model_fields) - {"train_semantics", "maps", "mask_rcnn"}
    free = load_scale("tiny").model_copy(update={"methods": {}, "divide": {}})
    for key, value in other.items():
        resolved = resolve(table, row.model_copy(update={"train": {f"baiseg.{key}": value}}), free, 1)
        reading = f"baiseg.{key}" in EXTRACTION
        assert (resolved.recipe.schedule.total == 0) == reading, key
        usual = resolve(table, row, free, 1)
        trained = resolved.ancestors[-1] if reading else resolved.recipe
        assert (trained.id == usual.recipe.id) == reading, key
        same_base = key not in OF_BASE
        assert (resolved.ancestors[0].id == usual.ancestors[0].id) == same_base, key
    assert full.baiseg.closing == 3, "what a scale sets is no reading either"


@pytest.mark.parametrize(
    "wanted",
    [
        {"baiseg.threshold": 0.3}, {"baiseg.refine": False}, {"baiseg.seeds": "literal"},
        {"baiseg": {"closing": 7, "min_area": 20}}, {"baiseg.eval_semantics": "ground_truth"},
        {"baiseg.boundary": "gradient", "schedule.lr": 1e-3},
    ],
    ids=str,
)  # fmt: skip
def test_a_users_extraction_is_the_trainings_own(tables, wanted):
    """It holds for every row: the full model needs no reading, and rows that differ in it alone are one."""
    full = at(tables, *FULL, overrides=wanted)
    assert full.recipe.schedule.total > 0
    assert [(a.id, a.model.trained) for a in full.ancestors] == [(full.recipe.init.parent, "base")]
    assert all(tree(full.recipe)[key] == value for key, value in flatten(wanted).items())
    for row in SAME_TRAINING:
        resolved = at(tables, *row, overrides=wanted)
        varied = {k for k in differing(resolved.published, full.published) if k.startswith("baiseg.")}
        if varied <= flatten(wanted).keys():
            assert resolved.recipe.id == full.recipe.id and resolved.ancestors == full.ancestors
        else:
            assert resolved.recipe.schedule.total == 0 and resolved.recipe.init.parent == full.recipe.id


def test_a_readings_deviations_are_its_trainings_without_the_zero_iterations(tables):
    for scale in SCALES:
        full, resolved = at(tables, *FULL, scale), at(tables, "baiseg/3", "literal extraction", scale)
        of_full = set(differences(full.published, full.recipe, full.ancestors))
        of_reading = set(differences(resolved.published, resolved.recipe, resolved.ancestors))
        assert of_reading == {d for d in of_full if not d.startswith("schedule.iterations")}
        forked = any(d.startswith("forked") for d in of_reading)
        assert forked == any(a.model.trained == "base" for a in full.ancestors), scale


def test_box_masks_are_readings_of_a_fork_and_no_users_key_trains_them_again(tables):
    for wanted in ({}, {"schedule.lr": 0.01}):
        resolved = at(tables, "boxinst/3", "box mask", overrides=wanted)
        trained = at(tables, "boxinst/3", "projection + pairwise", overrides=wanted).recipe
        assert resolved.recipe.init.parent == trained.id and resolved.recipe.schedule.total == 0
        assert differing(resolved.recipe, trained) == {"predict.masks", "schedule.iterations", "init.parent"}
    chosen = at(tables, "boxinst/3", "box mask", overrides={"predict.score": 0.3})
    assert chosen.ancestors[-1].predict.score == 0.3


# Second stages


@pytest.mark.parametrize("scale", ["smoke", "mini", "paper"])
def test_the_mask_rcnn_learns_from_the_full_model_by_its_own_recipe(tables, scale):
    full = at(tables, *FULL, scale).recipe
    resolved = at(tables, "baiseg/1", "BAISeg (Semantic_gd)*†", scale)
    recipe = resolved.recipe
    assert recipe.method == "mask_rcnn" and recipe.baiseg is None and recipe.data.supervision == "proxy"
    assert (recipe.proxy.parent, recipe.proxy.instances, recipe.proxy.drop) == (full.id, True, None)
    assert full.id in {ancestor.id for ancestor in resolved.ancestors}
    assert recipe.schedule.total > 0
    # A base would have seen the annotated boxes, which BAISeg does without.
    assert recipe.init is None and not [a for a in resolved.ancestors if a.method == "mask_rcnn"]
    for key in ("dataset", "train", "eval", "shapes"):
        assert getattr(recipe.data, key) == getattr(full.data, key), key
    assert resolved.declared[full.id].baiseg.eval_semantics == "predicted"
    assert resolved.published.model.backbone == "resnet50"


def test_settings_of_the_user_reach_the_stage_that_they_are_about(tables):
    wanted = {
        "baiseg.threshold": 0.3,
        "schedule.lr": 0.5,
        "schedule.iterations": 7,
        "boxcaseg.proxy_lr": 0.25,
    }
    resolved = at(tables, "baiseg/1", "BAISeg (Semantic_gd)*†", "mini", overrides=wanted)
    (first,) = resolved.ancestors
    assert first.id == at(tables, *FULL, "mini", overrides=wanted).recipe.id == resolved.recipe.proxy.parent
    assert (first.baiseg.threshold, first.schedule.lr, first.schedule.total) == (0.3, 0.5, 7)
    usual = at(tables, "baiseg/1", "BAISeg (Semantic_gd)*†", "mini").recipe.schedule
    assert (resolved.recipe.schedule.lr, resolved.recipe.schedule.total) == (0.25, usual.total)


# Scales


def test_widths_are_divided_in_proportion(tables):
    scale = load_scale("tiny")
    assert scale.divide == {"baiseg.dim": 8, "baiseg.stage_dim": 8}
    for label in ("32", "64", "128", "256"):
        assert at(tables, "baiseg/5", label).recipe.baiseg.dim == int(label) // 8
        assert at(tables, "baiseg/5", label, "paper").recipe.baiseg.dim == int(label)
    for label in ("32", "64", "128"):
        assert at(tables, "baiseg/6", f"ResNet50*, dim {label}").recipe.baiseg.stage_dim == int(label) // 8
    assert at(tables, "baiseg/5", "32", overrides={"baiseg.dim": 24}).recipe.baiseg.dim == 24


def test_a_division_leaves_at_least_one_and_other_methods_alone(tables):
    table = tables["baiseg/3"]
    scale = load_scale("tiny").model_copy(update={"divide": {"baiseg.stage_dim": 1000, "boxcaseg.patch": 2}})
    assert resolve(table, table.row(FULL[1]), scale, 1).recipe.baiseg.stage_dim == 1
    assert resolve(table, table.row(FULL[1]), scale, 1).recipe.boxcaseg is None


def test_a_papers_own_seeds_are_its_rows_alone_and_the_users_win(monkeypatch):
    scale = load_scale("smoke").model_copy(update={"seeds": (1,), "seeds_for": {"baiseg": (4, 5)}})
    monkeypatch.setattr(planning, "load_scale", lambda name, root: scale)
    plan = make_plan("smoke")
    rows = {("baiseg/3", "CFM"): [4, 5], ("boxinst/1a", "tau = 0.1"): [1], ("boxcaseg/4", "Weak"): [1]}
    for row, seeds in rows.items():
        assert list(plan.row_runs(*row)) == seeds
        assert [plan.runs[id].seed for id in plan.row_runs(*row).values()] == seeds
    assert plan.seeds_of("baiseg") == (4, 5) and plan.seeds_of("sim") == (1,)
    assert plan.seeds == (1, 4, 5)
    assert {run.seed for run in plan.runs.values() if run.recipe.method == "baiseg"} == {4, 5}

    asked = make_plan("smoke", (9,))
    assert all(list(asked.row_runs(*row)) == [9] for row in rows)
    assert {run.seed for run in asked.runs.values()} == {9} and asked.seeds == (9,)


@pytest.mark.parametrize("scale", ["smoke", "tiny"])
def test_the_plan_trains_each_network_once(scale):
    """Readings add runs without iterations; what a reading starts from is planned before it."""
    plan = make_plan(scale, (1,))
    order = list(plan.runs)
    runs = [run for run in plan.runs.values() if run.recipe.method == "baiseg"]
    trained = [run for run in runs if run.iterations]
    networks = {
        tuple(sorted((k, str(v)) for k, v in tree(run.recipe).items() if k not in EXTRACTION))
        for run in trained
    }
    assert len(networks) == len(trained)
    for run in runs:
        if not run.iterations:
            assert plan.runs[run.parent] in trained and order.index(run.parent) < order.index(run.id)
            assert run.device_hours < plan.runs[run.parent].device_hours
