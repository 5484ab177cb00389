"""From a row to its recipe at a scale: substitution, the user's settings, deviations."""

import pytest

from tests.declare.rows import at
from wsis.declare.deviations import differences
from wsis.declare.load import DeclarationError, merged, parse
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


def test_precision_may_be_a_number_as_a_command_line_gives_it():
    assert ScheduleSpec(precision=32).precision == "32"


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
