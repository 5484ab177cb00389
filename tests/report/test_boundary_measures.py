"""Measures of boundary maps in BAISeg's tables: their files, what is missing, and what they judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.report.results_folder import SEEDS, add_run, table, write
from wsis.declare.load import parse
from wsis.declare.recipe import Recipe
from wsis.declare.scale import Cost, Scale
from wsis.declare.table import BOUNDARY_MEASURES, PROXY_MEASURES
from wsis.errors import WsisError
from wsis.measures.words import measures_note, readable
from wsis.plan import Plan
from wsis.report import results as report_results
from wsis.report.build import build_report
from wsis.report.model import CellResult, Report
from wsis.report.view import table_view

DATA = {"root_name": "shapes-0", "fingerprint": "0f"}
ROWS = {"full": {}, "CFM": {"dma": False}, "gradient": {"boundary": "gradient"}, "none": {"boundary": "none"}}
LEVEL = {"full": 3.0, "CFM": 1.0, "gradient": 2.0, "none": 0.0}
CLAIMS = [
    {"id": "contacts", "kind": "greater", "row": "full", "metric": "response_contact",
     "than": {"row": "full", "metric": "response_interior"}},
    {"id": "no-gradient", "kind": "greater", "row": "full", "than": "gradient",
     "metric": "contact_texture_AUC"},
    {"id": "textures", "kind": "greater", "row": "full", "metric": "response_texture",
     "than": {"row": "full", "metric": "response_contact"}},
]  # fmt: skip


def recipe(seed: int, baiseg: dict[str, Any]) -> Recipe:
    tree = {"method": "baiseg", "seed": seed, "baiseg": baiseg, "data": {"supervision": "semantic"}}
    tree |= {"model": {"backbone": "tiny-hrnet-w48", "neck": "none", "head": "baiseg"}}
    return parse(Recipe, tree, "recipe").settled()


def retrained(seed: int) -> Recipe:
    tree = {"method": "mask_rcnn", "seed": seed, "data": {"supervision": "proxy"}}
    return parse(Recipe, tree | {"proxy": {"parent": recipe(seed, {}).id}}, "recipe").settled()


@pytest.fixture
def plan(monkeypatch) -> Plan:
    monkeypatch.setattr(report_results, "code_hash", lambda method: "now")
    monkeypatch.setattr(report_results, "boundary_hash", lambda: "now")
    cost = Cost(device="a device", seconds_per_image={}, megabytes={}, source="s")
    scale = Scale(name="tiny", title="t", seeds=SEEDS, cost=cost, data="generated")
    rows = [{"label": label, "values": [40.0], "train": {}} for label in (*ROWS, "Mask R-CNN")]
    declared = table("3", ["AP50"], rows, CLAIMS)
    declared = declared.model_copy(update={"paper": "baiseg", "measures": BOUNDARY_MEASURES})
    plan = Plan(scale, SEEDS, {declared.key: declared})
    for seed in SEEDS:
        for label, over in ROWS.items():
            add_run(plan, ("baiseg/3", label), recipe(seed, over))
        add_run(plan, ("baiseg/3", "Mask R-CNN"), retrained(seed))
    return plan


def measures(label: str, seed: int) -> dict[str, float | None]:
    """Invented: a step of 1 between rows and of 5 between seeds; no pair is in contact at the last one."""
    base = 5.0 * seed + LEVEL[label] + 0.01 * (seed * len(label) % 3)
    values = {name: place + base for place, name in enumerate(("response_interior", "response_texture",
              "response_contact", "response_contour"))}  # fmt: skip
    values |= {"contact_AUC": 20 + base, "contact_texture_AUC": 10 + base}
    values = {name: None if label == "none" else value for name, value in values.items()}
    return values | {"split": None if seed == SEEDS[-1] else 30 + base}


def make_results(plan: Plan, results: Path) -> None:
    for run in plan.runs.values():
        folder = results / "tiny/runs" / run.id
        write(folder / "metrics.json", {"recipe": run.id, "protocol": "coco", "metrics": {"AP50": 40.0}})
        train = {"recipe": run.id, "seconds": 1.0, "code": "now", "weights": "w", "deviations": []}
        write(folder / "train.json", train | {"data": DATA})
        if run.recipe.method == "baiseg":
            made = {"recipe": run.id, "code": "now", "weights": "w", "data": DATA, "pairs": 4}
            write(file_of(results, run.id), made | {"measures": measures(run.rows[0][1], run.seed)})


def file_of(results: Path, run: str) -> Path:
    return results / f"tiny/boundary/{run}.json"


def report_of(plan: Plan, results: Path) -> Report:
    return build_report(plan, results, figures={}, errata={})


def cells_of(plan: Plan, results: Path) -> dict[tuple[str, str], CellResult]:
    return report_of(plan, results).tables[0].cells


def test_a_rows_values_are_those_of_its_own_runs(plan, tmp_path):
    make_results(plan, tmp_path)
    cells = cells_of(plan, tmp_path)
    for label in ("full", "CFM", "gradient"):
        for measure in BOUNDARY_MEASURES:
            expected = {seed: measures(label, seed)[measure] for seed in SEEDS}
            known = {seed: value for seed, value in expected.items() if value is not None}
            assert cells[label, measure].values == pytest.approx(known), (label, measure)
            assert cells[label, measure].runs == plan.row_runs("baiseg/3", label)
    assert cells["none", "split"].n == len(SEEDS) - 1


def test_what_is_not_there_has_a_reason(plan, tmp_path):
    make_results(plan, tmp_path)
    result = report_of(plan, tmp_path).tables[0]
    shown = {row.label: row for row in table_view(result, "tiny").rows}
    columns = [*result.table.metrics]
    for label, metric in (
        ("none", "contact_AUC"),
        ("Mask R-CNN", "response_contact"),
        ("Mask R-CNN", "split"),
    ):
        assert (
            result.cells[label, metric].reason == "no boundary map" and not result.cells[label, metric].values
        )
        assert shown[label].cells[columns.index(metric)].kind == "empty"
    for seed in SEEDS:
        id = recipe(seed, ROWS["full"]).id
        content = json.loads(file_of(tmp_path, id).read_text())
        write(file_of(tmp_path, id), content | {"measures": content["measures"] | {"response_texture": None}})
        file_of(tmp_path, recipe(seed, ROWS["CFM"]).id).unlink()
    cells = cells_of(plan, tmp_path)
    assert cells["full", "response_texture"].reason == "response: textures is undefined on this data"
    assert cells["full", "response_contact"].n == len(SEEDS)
    assert cells["CFM", "contact_AUC"].reason.startswith("not run: snakemake baiseg_3 ")


def test_measured_on_other_data_is_not_shown(plan, tmp_path):
    make_results(plan, tmp_path)
    for seed in SEEDS:
        path = file_of(tmp_path, recipe(seed, {}).id)
        content = json.loads(path.read_text())
        write(path, content | {"data": {"root_name": "shapes-1", "fingerprint": "1f"}})
    cell, run = cells_of(plan, tmp_path)["full", "contact_AUC"], recipe(SEEDS[0], {}).id
    assert not cell.values and "measured on shapes-1 (1f), the network was trained on shapes-0" in cell.reason
    assert cell.reason.endswith(f"to measure again: wsis boundary-quality {run} --scale tiny")


@pytest.mark.parametrize("change", [{"code": "before"}, {"code": None}, {"weights": "of before"}])
def test_a_measure_of_other_code_or_of_other_weights_is_stale(plan, tmp_path, change):
    make_results(plan, tmp_path)
    assert not cells_of(plan, tmp_path)["full", "contact_AUC"].stale
    path = file_of(tmp_path, recipe(SEEDS[0], {}).id)
    write(path, json.loads(path.read_text()) | change)
    cells = cells_of(plan, tmp_path)
    assert cells["full", "contact_AUC"].stale and cells["full", "contact_AUC"].n == len(SEEDS)
    assert not cells["full", "AP50"].stale and not cells["CFM", "contact_AUC"].stale


def test_what_was_measured_before_there_was_a_measure_is_not_measured(plan, tmp_path):
    make_results(plan, tmp_path)
    write(file_of(tmp_path, recipe(SEEDS[0], {}).id), {"measures": {}, "data": DATA})
    build_report(plan, tmp_path)  # no crash: the cell says what to run


@pytest.mark.parametrize("content", [{"data": DATA}, {"measures": 3}, {"measures": {"split": "x"}}])
def test_a_file_of_another_form_is_named(plan, tmp_path, content):
    make_results(plan, tmp_path)
    run = recipe(SEEDS[0], {}).id
    write(file_of(tmp_path, run), content)
    with pytest.raises(WsisError, match=f"{run}.json: no "):
        report_of(plan, tmp_path)


def test_claims_over_boundary_maps(plan, tmp_path):
    make_results(plan, tmp_path)
    judged = {claim.claim.id: claim for claim in report_of(plan, tmp_path).tables[0].claims}
    assert judged["contacts"].verdict == judged["no-gradient"].verdict == "reproduced"
    assert judged["contacts"].published is None
    assert judged["textures"].verdict == "contradicted" and "response: contacts" in judged["textures"].detail


def test_names_and_notes_are_words():
    names = [readable(measure) for measure in BOUNDARY_MEASURES]
    assert len(set(names)) == len(names) and not any("_" in name for name in names)
    assert readable("contact_texture_AUC") == "contacts vs textures: AUC"
    note = measures_note(BOUNDARY_MEASURES[:1])
    assert "contacts" in note.lower() and note not in measures_note(PROXY_MEASURES[:1])
    assert note in measures_note([*PROXY_MEASURES, "split"])
