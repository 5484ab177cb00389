"""Runs by name: ids and parts of them, rows, folders; what a run that exists knows of itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wsis.errors import WsisError
from wsis.files import write_json
from wsis.flow.listing import listed, show_runs
from wsis.plan import Plan, make_plan
from wsis.results.naming import by_id, row_runs, table_of
from wsis.results.runs import choose, of_plan, stored_run, stored_runs

SHORT = {"schedule.iterations": 2}


@pytest.fixture(scope="module")
def plan():
    return make_plan("smoke", (0,))


def begin(plan: Plan, id: str, results: Path, roots: dict[str, str] | None = None) -> Path:
    """The folder of a run whose training has begun, as `wsis.engine.execute` writes it."""
    recipe = plan.runs[id].recipe.settled()
    folder = results / plan.scale.name / "runs" / id
    asked = {"set": plan.overrides, "data_root": roots}
    tree = {"id": id, "scale": plan.scale.name, "recipe": recipe.model_dump(mode="json"), "asked": asked}
    write_json(folder / "recipe.json", tree)
    return folder


def ids(chosen) -> list[str]:
    return [id for each in chosen for id in each.ids]


def test_both_spellings_of_a_table(plan):
    assert table_of("boxinst/3", plan.tables) == table_of("boxinst_3", plan.tables) == "boxinst/3"
    assert table_of("boxinst-3", plan.tables) is None


def test_a_row_is_its_runs_and_a_colon_in_a_label_is_none():
    plan = make_plan("smoke", (0, 1))
    both = plan.row_runs("boxcaseg/4", "mixed: Weak")
    assert row_runs(plan, "boxcaseg_4:mixed: Weak") == [*both.values()]
    assert row_runs(plan, "boxcaseg/4:mixed: Weak@1") == [both[1]]
    assert {*both.values()} < {*row_runs(plan, "boxcaseg/4")}


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("boxinst/3:projektion", r"no row 'projektion' \(there are: projection, "),
        ("boxinst/3:projection@5", r"no such seed \(there are: 0\)"),
        ("boxinst/3:projection@x", "no row 'projection'|no row"),
        ("sim/1:BoxCaseg++ R-101 1x", "not run at scale smoke: "),
    ],
)
def test_a_row_that_is_none_is_told_with_the_nearest(plan, word, complaint):
    with pytest.raises(WsisError, match=complaint):
        row_runs(plan, word)


def test_a_part_of_an_id_must_be_of_one_run():
    there = ["a-0123456789", "a-0199999999", "b-7123456789"]
    assert by_id("a-012", there) == by_id("0123", there) == by_id("a-0123456789", there) == there[0]
    assert by_id("c", there) is None and by_id("", there) is None
    with pytest.raises(WsisError, match="2 runs begin with it: a-0123456789, a-0199999999"):
        by_id("01", there)


def test_runs_that_exist_bring_their_scale_settings_and_roots(plan, tmp_path):
    short = make_plan("smoke", (0,), SHORT)
    [id] = short.row_runs("boxinst/3", "projection").values()
    folder = begin(short, id, tmp_path, {"coco": str(tmp_path), "voc": "/gone"})
    for word in (id, id[:-3], id.rpartition("-")[2], str(folder), "boxinst_3:projection", "boxinst/3"):
        [chosen] = choose([word], tmp_path, None)
        assert chosen.ids == [id] and chosen.plan.overrides == SHORT
        assert chosen.plan.scale.name == "smoke" and chosen.folders == [folder]
        assert chosen.roots == {"coco": str(tmp_path)}
    begin(plan, plan.row_runs("boxinst/3", "projection")[0], tmp_path)
    with pytest.raises(WsisError, match=r"runs of several plans .*'schedule.iterations': 2"):
        choose(["boxinst/3:projection"], tmp_path, None)
    assert ids(choose(["boxinst/3:projection"], tmp_path, plan)) == [*row_runs(plan, "boxinst/3:projection")]
    assert {each.plan.overrides.get("schedule.iterations") for each in choose([id], tmp_path, plan)} == {2}


def test_what_is_to_be_trained_is_planned_with_all_that_it_needs(plan, tmp_path):
    row = plan.row_runs("boxinst/3", "projection")[0]
    begin(plan, row, tmp_path)
    wanted = ids(choose(["boxinst/3:projection"], tmp_path, plan, anew=True))
    assert wanted == plan.with_needed([row]) and len(wanted) == 2
    assert ids(choose([row], tmp_path, plan, anew=True)) == [row]  # an id stands for itself


def test_an_unknown_run_is_told_with_the_nearest(plan, tmp_path):
    id = next(iter(plan.runs))
    near = f"{id[:-1]}{'0' if id[-1] != '0' else '1'}"
    with pytest.raises(WsisError, match=f"no run {near} at scale smoke .*nearest are: {id}"):
        choose([near], tmp_path, plan)


@pytest.mark.parametrize(
    "content", ["[]", "null", "{", '{"id": "a"}', '{"id": "a", "scale": 5, "recipe": 1}']
)
def test_folders_without_a_recipe_are_no_runs(tmp_path, content):
    folder = tmp_path / "smoke" / "runs" / "a"
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(content)
    assert not list(stored_runs(tmp_path))
    with pytest.raises(WsisError, match=r"recipe\.json"):
        stored_run(folder)


def test_a_run_elsewhere_is_refused(plan, tmp_path):
    folder = begin(plan, next(iter(plan.runs)), tmp_path)
    folder.rename(tmp_path / "mine")
    with pytest.raises(WsisError, match="is not results/smoke/runs/"):
        stored_run(tmp_path / "mine")


def test_runs_are_listed_with_rows_state_and_metrics(plan, tmp_path, capsys):
    short = make_plan("smoke", (0,), SHORT)
    first, second = plan.row_runs("boxinst/3", "projection")[0], short.row_runs("boxinst/3", "projection")[0]
    folder = begin(plan, first, tmp_path)
    write_json(folder / "train.json", {"recipe": first})
    for name in ("model.safetensors", "predictions.json"):
        (folder / name).touch()
    metrics = {"AP": 12.34, "AP50": 20.0, "APS": None}
    write_json(folder / "metrics.json", {"protocol": "coco", "metrics": metrics})
    (begin(short, second, tmp_path) / "log.jsonl").write_text(json.dumps({"iteration": 0}) + "\n{")
    by = {line["id"]: line for line in listed([], tmp_path, None)}
    assert by[first]["state"] == "evaluated" and by[first]["metrics"] == {"AP": 12.34, "AP50": 20.0}
    assert by[second]["state"] == "step 1 of 2" and by[second]["set"] == SHORT
    assert {"table": "boxinst/3", "row": "projection"} in by[first]["rows"]
    assert {line["id"] for line in listed(["boxinst_3:projection"], tmp_path, None)} == {first, second}
    assert [line["id"] for line in listed([second[:-2]], tmp_path, None)] == [second]
    assert not listed(["boxinst/3:projection@7"], tmp_path, None) and not listed([], tmp_path, "tiny")
    show_runs(listed([], tmp_path, None))
    text = capsys.readouterr().out
    assert first in text and second in text and "12.3" in text


def test_a_warm_up_lacks_no_predictions(plan, tmp_path):
    warmup = next(id for id, run in plan.runs.items() if not plan.predicts(id))
    folder = begin(plan, warmup, tmp_path)
    write_json(folder / "train.json", {"recipe": warmup})
    (folder / "model.safetensors").touch()
    (line,) = listed([], tmp_path, None)
    assert line["state"] == "trained"


def test_a_plans_runs_know_their_roots(plan, tmp_path):
    id = next(iter(plan.runs))
    begin(plan, id, tmp_path, {"coco": str(tmp_path)})
    assert of_plan(plan, [id], tmp_path).roots == {"coco": str(tmp_path)}
    assert of_plan(plan, [id], tmp_path / "other").roots is None


def test_runs_whose_settings_are_refused_now_are_told_and_left_out(plan, tmp_path, capsys):
    first, second = list(plan.runs)[:2]
    begin(plan, first, tmp_path)
    path = begin(plan, second, tmp_path) / "recipe.json"
    path.write_text(path.read_text().replace('"set": {}', '"set": {"gone": 1}'))
    assert [line["id"] for line in listed([], tmp_path, None)] == [first]
    assert "gone: unknown key" in capsys.readouterr().err
