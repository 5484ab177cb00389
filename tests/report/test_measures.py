"""Rows and measures of ours: their values, what is missing, and what they may decide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.report.results_folder import SEEDS, add_run, table, write
from wsis.declare.load import parse
from wsis.declare.recipe import Recipe
from wsis.declare.scale import Cost, Scale
from wsis.errors import WsisError
from wsis.measures.words import readable
from wsis.methods.sim.measures import BATCHES
from wsis.plan import Plan
from wsis.report import results as report_results
from wsis.report.build import build_report
from wsis.report.collect import collect
from wsis.report.diff import compare, make_diff
from wsis.report.model import Report
from wsis.report.view import table_view

MEASURES = ("pseudo_IoU", "pseudo_AUC", "semantic_AUC", "pseudo_acc", "instance_AUC_overlap")
AP = {"baseline": 30.0, "weak": 32.0, "full": 31.0, "control": 40.0}  # measured; printed: 30, 31, 32, nothing
ALPHA = {"weak": 0.3, "full": 0.5, "control": 0.7}
ROWS = [
    {"label": "baseline", "values": [30.0], "train": {}},
    {"label": "weak", "values": [31.0], "train": {}},
    {"label": "full", "values": [32.0], "train": {}},
    {"label": "control", "ours": True, "train": {}},
]
DATA = {"root_name": "shapes-0", "fingerprint": "0f"}
CLAIMS = [
    {"id": "full-best", "kind": "best", "row": "full"},
    {"id": "weak-best", "kind": "best", "row": "weak"},
    {"id": "weak-best-of-all", "kind": "best", "row": "weak", "among": ["baseline", "full", "control"]},
    {"id": "masks", "kind": "greater", "row": "full", "than": "weak", "metric": "pseudo_IoU"},
    {"id": "maps", "kind": "greater", "row": "full", "metric": "pseudo_AUC",
     "than": {"row": "full", "metric": "semantic_AUC"}},
    {"id": "none", "kind": "greater", "row": "full", "than": "baseline", "metric": "pseudo_IoU"},
]  # fmt: skip


def sim(label: str, seed: int, parent: str, **data: Any) -> Recipe:
    tree = {"method": "sim", "seed": seed, "sim": {"alpha": ALPHA[label]}, "data": data}
    return parse(Recipe, tree | {"init": {"parent": parent, "iteration": 40}}, "recipe").settled()


def boxinst(seed: int, iterations: int, **data: Any) -> Recipe:
    tree = {"method": "boxinst", "seed": seed, "schedule": {"iterations": iterations}, "data": data}
    return parse(Recipe, tree, "recipe").settled()


def make_plan(**sim_data: Any) -> Plan:
    """A baseline of its own, and three rows of SIM that continue one warm-up a seed."""
    cost = Cost(device="a device", seconds_per_image={}, megabytes={}, source="s")
    scale = Scale(name="tiny", title="t", seeds=SEEDS, cost=cost, data="generated")
    declared = table("3", ["AP"], ROWS, CLAIMS)
    declared = declared.model_copy(update={"paper": "sim", "measures": MEASURES})
    plan = Plan(scale, SEEDS, {declared.key: declared})
    for seed in SEEDS:
        add_run(plan, ("sim/3", "baseline"), boxinst(seed, 100))
        for label in ALPHA:
            warmup = boxinst(seed, 40, **sim_data)
            add_run(plan, ("sim/3", label), warmup, sim(label, seed, warmup.id, **sim_data))
    return plan


def score(label: str, measure: str, seed: int) -> float | None:
    """Invented: `full` is about 2 above `weak`, the semantic map is worse, and nothing is labelled."""
    if measure == "pseudo_acc":
        return None
    base = {"pseudo_IoU": 60.0, "pseudo_AUC": 80.0, "semantic_AUC": 70.0}.get(measure, 50.0)
    return base + 3 * seed + 10 * ALPHA[label] + 0.01 * ((seed * 7 + len(label)) % 3)


def scores(label: str, seed: int) -> dict[str, Any]:
    kinds = {"semantic": ("IoU", "best", "AUC"), "instance": ("IoU", "best", "AUC")}
    kinds["pseudo"] = ("IoU", "best", "AUC", "cover", "acc")
    return {
        name: {
            subset: {
                kind: score(label, f"{name}_{kind}" + ("_overlap" if subset == "overlap" else ""), seed)
                for kind in kinds[name]
            }
            for subset in ("all", "overlap")
        }
        for name in kinds
    }


def make_results(plan: Plan, results: Path, trained: bool = True, measured: bool = True) -> None:
    for run in plan.runs.values():
        labels = [label for _, label in run.rows]
        if trained:
            metrics = {"AP": AP[labels[0]] + 3.0 * run.seed} if labels else {"AP": 1.0}
            folder = results / "tiny/runs" / run.id
            write(folder / "metrics.json", {"recipe": run.id, "protocol": "coco", "metrics": metrics})
            train = {"recipe": run.id, "seconds": 1.0, "code": "now", "weights": "w", "deviations": []}
            write(folder / "train.json", train | {"data": DATA})
    if not measured:
        return
    warmups = {run.parent: run.seed for run in plan.runs.values() if run.parent}
    for parent, seed in warmups.items():
        runs = {plan.row_runs("sim/3", label)[seed]: scores(label, seed) for label in ALPHA}
        made_by = {"recipe": parent, "code": "now", "weights": "w", "batches": BATCHES, "data": DATA}
        write(results / f"tiny/pseudo/{parent}.json", {**made_by, "images": 3, "runs": runs})


def report_of(plan: Plan, results: Path) -> Report:
    return build_report(plan, results, figures={}, errata={})


@pytest.fixture
def plan(monkeypatch) -> Plan:
    unchanged(monkeypatch)
    return make_plan()


def unchanged(monkeypatch) -> None:
    """All code is that which made the results."""
    monkeypatch.setattr(report_results, "code_hash", lambda method: "now")
    monkeypatch.setattr(report_results, "pseudo_hash", lambda: "now")


def test_a_measure_is_read_from_the_warm_up_that_a_run_continues(plan, tmp_path):
    make_results(plan, tmp_path)
    cells = report_of(plan, tmp_path).tables[0].cells
    for label in ALPHA:
        for measure in MEASURES:
            cell = cells[label, measure]
            if measure != "pseudo_acc":
                assert cell.values == {seed: score(label, measure, seed) for seed in SEEDS}
                assert cell.reason is None and cell.published is None and cell.interval is None
            assert cell.runs == plan.row_runs("sim/3", label)


def test_what_is_not_there_has_a_reason(plan, tmp_path):
    make_results(plan, tmp_path)
    cells = report_of(plan, tmp_path).tables[0].cells
    assert cells["baseline", "pseudo_IoU"].reason == "no pseudo masks"
    assert "undefined" in cells["full", "pseudo_acc"].reason and not cells["full", "pseudo_acc"].values
    files = sorted((tmp_path / "tiny/pseudo").iterdir())
    files[0].unlink()
    assert cells_of(plan, tmp_path)["full", "pseudo_IoU"].n == len(SEEDS) - 1
    for file in files[1:]:
        file.unlink()
    assert cells_of(plan, tmp_path)["full", "pseudo_IoU"].reason.startswith("not run: snakemake sim_3 ")
    write(files[0], {"runs": {}})  # measured before this row was declared
    assert cells_of(plan, tmp_path)["full", "pseudo_IoU"].reason.startswith("not run: snakemake sim_3 ")


def test_a_row_that_learns_from_no_label_has_no_masks(plan, tmp_path):
    make_results(plan, tmp_path)
    for run in plan.row_runs("sim/3", "control").values():
        recipe = plan.runs[run].recipe
        unlabelled = recipe.sim.model_copy(update={"labels": False})
        plan.runs[run].recipe = recipe.model_copy(update={"sim": unlabelled})
    assert cells_of(plan, tmp_path)["control", "pseudo_IoU"].reason == "no pseudo masks"


def test_masks_of_a_row_without_a_warm_up_cannot_be_measured(plan, tmp_path):
    make_results(plan, tmp_path)
    for run in plan.row_runs("sim/3", "full").values():
        plan.runs[run].recipe = plan.runs[run].recipe.model_copy(update={"init": None})
    for run in plan.row_runs("sim/3", "weak").values():  # forked from another run, but no warm-up
        recipe = plan.runs[run].recipe
        init = recipe.init.model_copy(update={"iteration": None})
        plan.runs[run].recipe = recipe.model_copy(update={"init": init})
    result = report_of(plan, tmp_path).tables[0]
    view = table_view(result, "tiny")
    column = view.metrics + view.measures
    for row in view.rows:
        reason = result.cells[row.label, "pseudo_IoU"].reason
        shown = row.cells[column.index("pseudo_IoU")]
        if row.label in ("full", "weak"):
            assert reason == "no common warm-up to measure at" == view.footnotes[shown.note]
        else:
            assert reason == ("no pseudo masks" if row.label == "baseline" else None) and not shown.note


def files_of(plan: Plan, results: Path) -> dict[str, dict[str, Any]]:
    """Warm-up -> the content of its file."""
    return {path.stem: json.loads(path.read_text()) for path in (results / "tiny/pseudo").iterdir()}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"batches": 2}, "prototypes estimated from 2 batches instead of 25"),
        ({"batches": 0}, "prototypes estimated from 0 batches instead of 25"),
        ({"batches": None}, "an unknown number of batches instead of 25"),
        ({"data": {"root_name": "shapes-1", "fingerprint": "1f"}}, "measured on shapes-1 (1f), the warm-up"),
        ({"data": None}, "measured on unknown data"),
    ],
)
def test_another_measure_than_the_tables_is_not_shown(plan, tmp_path, change, reason):
    make_results(plan, tmp_path)
    plan.overrides = {"schedule.lr": 0.1}
    files = files_of(plan, tmp_path)
    for warmup, content in files.items():
        write(tmp_path / f"tiny/pseudo/{warmup}.json", content | change)
    first = plan.runs[plan.row_runs("sim/3", "full")[SEEDS[0]]].parent
    cell = cells_of(plan, tmp_path)["full", "pseudo_IoU"]
    assert not cell.values and not cell.stale and reason in cell.reason
    assert cell.reason.endswith(f"; to measure again: wsis pseudo {first} --scale tiny --set schedule.lr=0.1")
    write(tmp_path / f"tiny/pseudo/{first}.json", files[first])
    assert set(cells_of(plan, tmp_path)["full", "pseudo_IoU"].values) == {SEEDS[0]}


def test_without_the_warm_ups_own_files_the_data_is_taken_as_it_is(plan, tmp_path):
    make_results(plan, tmp_path, trained=False)
    cell = cells_of(plan, tmp_path)["full", "pseudo_IoU"]
    assert cell.n == len(SEEDS) and not cell.stale


def cells_of(plan: Plan, results: Path) -> dict:
    return report_of(plan, results).tables[0].cells


@pytest.mark.parametrize("content", [{"runs": 3}, {"maps": {}}, None])
def test_a_file_of_another_form_is_named(plan, tmp_path, content):
    make_results(plan, tmp_path)
    parent = next(run.parent for run in plan.runs.values() if run.parent)
    run = plan.row_runs("sim/3", "full")[plan.runs[parent].seed]
    content = {"runs": {run: {"pseudo": {"all": {}}}}} if content is None else content
    write(tmp_path / f"tiny/pseudo/{parent}.json", content)
    with pytest.raises(WsisError, match=parent):
        report_of(plan, tmp_path)


def test_a_measure_is_stale_with_its_warm_up(plan, tmp_path):
    make_results(plan, tmp_path)
    parent = next(run.parent for run in plan.runs.values() if run.parent)
    assert not cells_of(plan, tmp_path)["full", "pseudo_IoU"].stale
    write(tmp_path / "tiny/runs" / parent / "train.json", {"code": "before", "deviations": []})
    cells = cells_of(plan, tmp_path)
    assert cells["full", "pseudo_IoU"].stale and not cells["baseline", "AP"].stale


@pytest.mark.parametrize("change", [{"code": "before"}, {"code": None}, {"weights": "of before"}])
def test_a_measure_of_other_code_or_of_other_weights_is_stale(plan, tmp_path, change):
    make_results(plan, tmp_path)
    warmup, content = next(iter(files_of(plan, tmp_path).items()))
    write(tmp_path / f"tiny/pseudo/{warmup}.json", content | change)
    cells = cells_of(plan, tmp_path)
    assert cells["full", "pseudo_IoU"].stale and cells["full", "pseudo_IoU"].n == len(SEEDS)
    assert not cells["full", "AP"].stale


def test_claims_over_measures(plan, tmp_path):
    make_results(plan, tmp_path)
    judged = {claim.claim.id: claim for claim in report_of(plan, tmp_path).tables[0].claims}
    assert judged["masks"].verdict == "reproduced" and judged["masks"].published is None
    assert judged["maps"].verdict == "reproduced" and "M_S: AUC" in judged["maps"].detail
    assert judged["none"].verdict == "not run"


def test_rows_of_ours_decide_nothing_unless_named(plan, tmp_path):
    """The control is far above all; the trend and the default rivals leave it out."""
    make_results(plan, tmp_path)
    result = report_of(plan, tmp_path).tables[0]
    verdicts = {claim.claim.id: claim.verdict for claim in result.claims}
    assert verdicts["weak-best"] == "reproduced" and verdicts["full-best"] == "contradicted"
    assert verdicts["weak-best-of-all"] == "contradicted"
    assert {c.claim.id: c.published for c in result.claims}["full-best"] is True
    assert (result.trend.n, result.trend.best_measured, result.trend.metric) == (3, "weak", "AP")
    cell = result.cells["control", "AP"]
    assert cell.mean > 40 and cell.published is None and cell.difference is None


def test_files_for_machines_carry_both(plan, tmp_path):
    make_results(plan, tmp_path)
    report = report_of(plan, tmp_path)
    frame = collect(report)
    lines = frame[(frame["metric"] == "pseudo_IoU") & (frame["row"] == "control")]
    assert len(lines) == len(SEEDS) and lines["published"].isna().all()
    (tree,) = make_diff(report)["tables"]
    assert tree["metrics"] == ["AP", *MEASURES] and tree["measures"] == list(MEASURES)
    assert [row["label"] for row in tree["rows"] if row["ours"]] == ["control"]
    assert all(list(row["cells"]) == tree["metrics"] for row in tree["rows"])
    assert {claim["id"]: claim["metric"] for claim in tree["claims"]}["masks"] == "pseudo_IoU"


def test_measured_without_training_is_no_run_of_the_table(plan, tmp_path):
    make_results(plan, tmp_path / "a")
    reference = {"scale": "tiny", "claims": [
        {"table": "sim/3", "id": c.claim.id, "verdict": c.verdict, "detail": ""}
        for c in report_of(plan, tmp_path / "a").tables[0].claims
    ]}  # fmt: skip
    make_results(plan, tmp_path / "b", trained=False)
    only = make_diff(report_of(plan, tmp_path / "b"))
    assert {c["id"]: c["verdict"] for c in only["tables"][0]["claims"]}["masks"] == "reproduced"
    assert compare(only, reference) == ([], [])
    make_results(plan, tmp_path / "c", measured=False)
    lost, noted = compare(make_diff(report_of(plan, tmp_path / "c")), reference)
    assert not lost and len(noted) == 2 and all("masks" in line or "maps" in line for line in noted)


@pytest.mark.parametrize(
    "data", [{"dataset": "voc"}, {"train": "other"}, {"eval": "x"}, {"shapes": {"size": 64}}]
)
def test_cells_of_different_images_are_not_compared(monkeypatch, tmp_path, data):
    unchanged(monkeypatch)
    plan = make_plan(**data)
    make_results(plan, tmp_path)
    judged = {claim.claim.id: claim for claim in report_of(plan, tmp_path).tables[0].claims}
    assert judged["weak-best"].verdict == "not run"
    assert "'weak' and 'baseline' are measured on different images" in judged["weak-best"].detail
    assert judged["masks"].verdict == "reproduced"  # both on the same


@pytest.mark.parametrize("data", [{"augment": "none"}, {"short_side": [96]}, {"supervision": "boxes"}])
def test_another_look_at_the_same_images_is_compared(monkeypatch, tmp_path, data):
    unchanged(monkeypatch)
    plan = make_plan(**data)
    make_results(plan, tmp_path)
    judged = {claim.claim.id: claim for claim in report_of(plan, tmp_path).tables[0].claims}
    assert judged["weak-best"].verdict == "reproduced"


def test_names_are_words():
    assert readable("pseudo_IoU") == "pseudo masks: IoU at 0.5"
    assert readable("semantic_AUC_overlap") == "M_S: AUC, overlapping"
    assert readable("AP75") == "AP75"
