"""What rows have otherwise than the papers: known before they run, each once, in the plan and the report."""

from __future__ import annotations

import pytest

from wsis.declare.deviations import Deviation, known, load_deviations
from wsis.declare.load import DeclarationError, parse
from wsis.declare.recipe import Recipe
from wsis.declare.settings import flatten
from wsis.flow.show import plan_as_json, show_plan
from wsis.plan import make_plan
from wsis.report import deviations
from wsis.report.build import build_report


@pytest.fixture(scope="module")
def plan():
    return make_plan("paper")


def recipe(tree: dict) -> Recipe:
    return parse(Recipe, {"method": "boxinst"} | tree, "here").settled()


def told(plan, key: str) -> dict[str, list[tuple[str, str]]]:
    found = deviations.of_tables(plan, list(plan.tables))
    return {text: rows for text, rows in found.items() if text.startswith(f"{key}: ")}


def test_every_listed_deviation_is_that_of_some_row(plan):
    """One that no row has is of a recipe that was mended, and is to be deleted."""
    texts = deviations.of_tables(plan, list(plan.tables))
    for deviation in load_deviations():
        assert any(deviation.text in text for text in texts), deviation


def test_each_text_stands_once_with_the_rows_that_have_it(plan, capsys):
    show_plan(plan, list(plan.tables))
    shown = capsys.readouterr().out.split("known before anything runs:")[1]
    (weights,) = told(plan, "model.weights")
    assert shown.count("model.weights: ") == 1 and shown.count(weights) == 1
    for key, label in told(plan, "model.weights")[weights]:
        (run,) = plan.row_runs(key, label).values()
        model = plan.runs[run].recipe.model
        assert (model.weights, model.backbone[:6]) == ("imagenet", "resnet")
    tree = plan_as_json(plan, list(plan.tables))["deviations"]
    (entry,) = [each for each in tree if each["text"] == weights]
    assert len(entry["rows"]) == len(told(plan, "model.weights")[weights])


def test_the_papers_own_way_deviates_in_nothing():
    where = {"model.weights": "R-50.pkl", "variant": "released"}
    plan = make_plan("paper", overrides=where)
    assert not [text for text in told(plan, "model.weights") if "MSRA" in text]
    assert {*told(plan, "model.details")} == {"model.details: own -> official"}
    assert {*told(plan, "variant")} == {"variant: paper -> released"}


def test_the_report_tells_the_same_as_the_plan(plan, tmp_path):
    report = build_report(plan, tmp_path)
    for result in report.tables:
        expected = deviations.of_tables(plan, [result.table.key])
        assert len(result.deviations) == len(expected)
        for text in expected:
            assert any(line.startswith(text) for line in result.deviations)


def test_a_training_that_another_row_reads_keeps_its_own_recipe(plan):
    """GrabCut's row starts from BoxInst's training, and stands above it."""
    assert not told(plan, "predict.masks")


def test_generated_images_stand_for_the_papers_as_a_whole():
    assert known(recipe({"data": {"dataset": "shapes"}})) == ()
    assert known(recipe({})) != ()


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"model.norm": "frozen"}, "model.norm: batch -> frozen (t)"),
        ({"model.norm": ["batch", "frozen"], "method": "boxinst"}, "model.norm: batch -> frozen (t)"),
        ({"model.norm": "batch"}, None),
        ({"model.norm": "frozen", "method": "sim"}, None),
        ({"model.norm": "frozen", "schedule.sync_norm": None}, "model.norm: batch -> frozen (t)"),
    ],
)
def test_a_recipe_deviates_where_it_has_all_values(where, expected):
    deviation = parse(Deviation, {"where": where, "key": "model.norm", "paper": "batch", "text": "t"}, "here")
    assert deviation.line(flatten(recipe({}).model_dump(mode="json"))) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {where: {model.nrm: frozen}, text: t}", r"entry 0: where: model.nrm: unknown key"),
        ("- {where: {model.norm: cold}, text: t}", r"entry 0: where: model.norm: .*got 'cold'"),
        ("- {where: {variant: paper}, key: model.norm, paper: batch, text: t}", "which value of model.norm"),
        ("- {where: {variant: paper}, key: variant, text: t}", "'key' and 'paper' go together"),
        ("a: b", "expected a list of deviations"),
    ],
)
def test_a_list_that_can_not_be_is_refused(text, message, tmp_path):
    (tmp_path / "deviations.yaml").write_text(text)
    with pytest.raises(DeclarationError, match=message):
        load_deviations(tmp_path)
