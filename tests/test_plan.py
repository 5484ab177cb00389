"""The run graph: deduplicated, parents first, every available row served, costs that add up."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wsis.data.places import shapes_root
from wsis.declare.load import DeclarationError
from wsis.declare.recipe import Recipe
from wsis.declare.resolve import GENERATED
from wsis.declare.specs.model import ModelSpec
from wsis.flow.show import plan_as_json, show_plan, show_table, tables_as_json
from wsis.plan import make_plan, missing_part


@pytest.fixture(scope="module", params=["smoke", "tiny", "mini", "paper"])
def plan(request):
    return make_plan(request.param)


def test_runs_are_keyed_by_their_recipe_and_parents_come_first(plan):
    seen = set()
    for id, run in plan.runs.items():
        assert id == run.id == run.recipe.id
        assert run.parent is None or run.parent in seen
        seen.add(id)


def test_every_trained_row_has_a_run_for_each_seed_or_a_reason(plan):
    for table in plan.tables.values():
        for row in table.rows:
            runs, reason = plan.row_runs(table.key, row.label), plan.row_reason(table.key, row.label)
            assert bool(runs) != bool(reason)
            if runs:
                assert set(runs) == set(plan.seeds_of(table.paper))
                assert all((table.key, row.label) in plan.runs[run].rows for run in runs.values())
            if row.kind == "quote":
                assert reason == "quoted"


def test_jobs_partition_the_runs_and_keep_their_order(plan):
    listed = [run for job in plan.jobs for run in job.runs]
    assert sorted(listed) == sorted(plan.runs)
    done = set()
    for job in plan.jobs:
        assert len(job.runs) <= plan.scale.runs_per_job
        assert {shapes_root(plan.runs[run].recipe) for run in job.runs} == {job.data}
        for run in job.runs:
            parent = plan.runs[run].parent
            assert parent is None or parent in done or parent in job.needs
            done.add(run)


def test_no_two_jobs_wait_for_each_other(plan):
    """Jobs can be done in the order in which they are listed; what a run needs stands before it."""
    done = set()
    for job in plan.jobs:
        assert {*job.needs} <= done
        for run in job.runs:
            assert {*plan.runs[run].needs} <= done
            done.add(run)


def test_trainings_of_one_data_set_share_processes():
    """BAISeg's rows fork nothing; each process started for its own would cost as much as its training."""
    plan = make_plan("tiny")
    for seed in plan.seeds_of("baiseg"):
        runs = [id for id, run in plan.runs.items() if run.recipe.method == "baiseg" and run.seed == seed]
        jobs = [job for job in plan.jobs if {*job.runs} & {*runs}]
        assert len(jobs) <= len(runs) / 3


@pytest.mark.parametrize(
    "overrides",
    [
        {"predict.masks": "boxes"},
        {"baiseg.refine": False},
        {"schedule.iterations": 7},
        {"boxcaseg.drop": 0.5},
        {"model.weights": "none"},
        {"variant": "released"},
        {"model.backbone": "tiny"},
    ],
)
def test_a_key_set_for_all_recipes_leaves_a_plan(overrides):
    for scale in ("tiny", "mini"):
        assert make_plan(scale, seeds=(3,), overrides=overrides).jobs


def test_boxinst_r50_serves_rows_of_two_papers_with_one_run():
    plan = make_plan("paper")
    (run,) = plan.row_runs("boxinst/1a", "tau = 0.1").values()
    tables = {table for table, _ in plan.runs[run].rows}
    assert {"boxinst/1a", "boxinst/1b", "boxinst/3", "boxinst/6", "boxinst/7", "sim/3"} <= tables


def test_every_run_has_one_protocol(plan):
    for run in plan.runs:
        assert set(plan.protocols(run)) <= {"coco", "voc", "class-agnostic"}


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"backbone": "vgg16"}, "backbone vgg16 does not exist yet"),
        (
            {"backbone": "hrnet-w32"},
            "backbone hrnet-w32 has no features for method condinst (these have: res",
        ),
        ({"backbone": "resnet101-dcn", "neck": "bifpn"}, None),
        ({}, None),
    ],
)
def test_what_is_published_and_not_there_is_a_reason(model, says):
    missing = missing_part(Recipe(method="condinst", model=ModelSpec(**model)))
    assert missing == says or missing.startswith(says)


def test_nothing_planned_is_missing_a_part(plan):
    assert all(missing_part(run.recipe) is None for run in plan.runs.values())


def test_tables_as_json_are_what_the_readme_says(plan):
    tables = tables_as_json(plan)
    assert sum(not all(row["ours"] for row in table["rows"]) for table in tables) == 32
    assert sum(not row["ours"] for table in tables for row in table["rows"]) == 224
    cells = [
        v for table in tables for row in table["rows"] for v in row["published"].values() if v is not None
    ]
    assert len(cells) == 928
    for table in tables:
        for row in table["rows"]:
            assert (row["recipe"] is None) == (row["kind"] == "quote")
            assert list(row["published"]) == table["metrics"]


def test_plan_as_json_adds_up(plan):
    tree = json.loads(json.dumps(plan_as_json(plan, list(plan.tables))))
    assert tree["totals"]["runs"] == len(plan.runs) == len(tree["runs"])
    assert tree["totals"]["device_hours"] == pytest.approx(sum(run["device_hours"] for run in tree["runs"]))
    served = {(row["table"], row["row"]) for run in tree["runs"] for row in run["rows"]}
    assert tree["totals"]["rows_served"] == len(served)
    absent = {(entry["table"], entry["row"]) for entry in tree["absent"]}
    assert not served & absent
    trained = {(t.key, r.label) for t in plan.tables.values() for r in t.rows if r.kind == "train"}
    elsewhere = {cell for cell in trained if plan.row_reason(*cell) == GENERATED}
    assert not elsewhere & absent and served | absent | elsewhere == trained


def test_a_table_alone_has_its_runs_and_their_jobs(plan):
    tree = plan_as_json(plan, ["boxinst/3"])
    runs = plan.with_needed(plan.wanted(["boxinst/3"]))
    assert [run["id"] for run in tree["runs"]] == runs and len(runs) < len(plan.runs)
    assert sorted(run for job in tree["jobs"] for run in job["runs"]) == sorted(runs)
    assert {entry["table"] for entry in tree["absent"]} <= {"boxinst/3"}


def test_listings_keep_ids_whole(plan, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    show_plan(plan, ["boxinst/3"])
    show_table(plan, "boxinst/3")
    text = capsys.readouterr().out
    seed = plan.seeds_of("boxinst")[0]
    for label in plan.tables["boxinst/3"].labels:
        assert text.count(plan.row_runs("boxinst/3", label)[seed]) >= 2


def test_planning_and_the_workflow_import_no_heavy_library():
    """Snakemake imports the plan at every start, and so does every command."""
    rules = Path(__file__).parents[1] / "workflow" / "rules"
    lines = [line for path in sorted(rules.glob("*.smk")) for line in path.read_text().splitlines()]
    imports = [line for line in lines if line.startswith(("from wsis.", "import wsis"))]
    assert any("wsis.plan" in line for line in imports)
    heavy = {"torch", "torchvision", "pandas", "matplotlib", "scipy", "numpy", "cv2", "pycocotools", "PIL"}
    used = [*imports, "import sys, wsis.flow.show", "wsis.plan.make_plan('smoke')"]
    code = [*used, f"print({heavy} & {{*sys.modules}})"]
    done = subprocess.run([sys.executable, "-c", "\n".join(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_frozen_batch_norm_of_a_network_without_weights_is_refused():
    with pytest.raises(
        DeclarationError, match=r"boxinst/1a .*model\.weights 'none' with model\.norm 'frozen'"
    ):
        make_plan("paper", overrides={"model.weights": "none"})
    live = make_plan("paper", (0,), overrides={"model.weights": "none", "model.norm": "batch"})
    assert len(live.runs) > 100


def test_rows_about_generated_images_are_no_part_of_scales_on_real_ones(capsys):
    plan = make_plan("paper")
    absent = plan_as_json(plan, list(plan.tables))["absent"]
    assert absent == []
    show_plan(plan, list(plan.tables))
    assert "boxcaseg/3d" not in capsys.readouterr().out


def test_of_the_printed_rows_all_but_other_systems_are_trained_at_the_papers_scale():
    """172 trained, 52 quoted, and none that is missing a part."""
    plan = make_plan("paper")
    printed = [(key, row) for key, table in plan.tables.items() for row in table.rows if not row.ours]
    quoted = [row.quote for _, row in printed if row.kind == "quote"]
    assert sum(bool(plan.row_runs(key, row.label)) for key, row in printed) == 172
    assert len(quoted) == 52
    assert not [text for text in quoted if text.startswith(("BoxInst", "SIM", "BoxCaseg", "BAISeg"))]
