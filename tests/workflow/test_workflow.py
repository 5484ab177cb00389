"""The workflow as a user runs it: `snakemake` in a copy of the checkout, at every scale as a dry run and at
the smoke scale for real, interrupted once on the way."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from wsis.bench.overhead import overhead
from wsis.files import checksum_file
from wsis.flow.work import work, write_work
from wsis.measures.file import path_of
from wsis.measures.registry import sets
from wsis.measures.wanted import wanted
from wsis.packing import pack
from wsis.plan import Plan, make_plan

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ["paper", "table", "row", "seed", "metric", "value", "published", "recipe", "scale"]


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "snakemake", "--cores", "2", *words]


def environment(checkout: Path) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if key != "SNAKEMAKE_PROFILE"}
    return inherited | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}


def snakemake(checkout: Path, *words: str, code: int = 0) -> str:
    """Run to the end, expect the exit code, return what was printed."""
    done = subprocess.run(
        command(*words),
        cwd=checkout,
        env=environment(checkout),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == code, done.stdout[-6000:]
    return done.stdout


def jobs(printed: str) -> dict[str, int]:
    """The table of jobs that Snakemake prints: rule -> count; empty when there is nothing to do."""
    if "Nothing to be done" in printed:
        return {}
    stats = re.search(r"^job +count\n-.*\n((?:\S+ +\d+\n)+?)total +\d+$", printed, re.MULTILINE)
    assert stats, printed[-3000:]
    return {name: int(count) for name, count in (line.split() for line in stats[1].splitlines())}


def dry(checkout: Path, *words: str) -> dict[str, int]:
    return jobs(snakemake(checkout, "--dry-run", *words))


def copied(folder: Path) -> Path:
    """A checkout without results, so that a test can run in it and change it."""
    for name in ("wsis", "workflow", "config", "ablations"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "environment.yml", folder)
    return folder


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    """A checkout in which nothing was run."""
    return copied(tmp_path_factory.mktemp("clean"))


def planned(plan: Plan, tables: list[str]) -> set[str]:
    """Ids of the jobs that train what `tables` show where nothing is finished."""
    return {job.id for job in pack(plan, tables, cores=2)}


def named(printed: str, word: str) -> set[str]:
    """Ids of the jobs that a dry run announces with a word: Train, Evaluate or Measure."""
    return set(re.findall(rf"^Job \d+: {word} ([^\s;]+)", printed, re.MULTILINE))


def training(listed: dict[str, int]) -> set[str]:
    return {name for name in listed if name.startswith("train_")}


@pytest.mark.parametrize("scale", ["smoke", "tiny", "mini", "paper"])
def test_a_dry_run_of_everything_trains_every_available_row(clean, scale):
    start = time.perf_counter()
    printed = snakemake(clean, "--dry-run", "--config", f"scale={scale}", "gpus=8", "--", "all")
    listed = jobs(printed)
    print(f"\nsnakemake -n all at {scale}: {time.perf_counter() - start:.1f} s, {sum(listed.values())} jobs")
    plan = make_plan(scale)
    assert named(printed, "Train") == planned(plan, list(plan.tables))
    assert sum(listed[name] for name in training(listed)) == len(named(printed, "Train"))
    served = {run for job in pack(plan, list(plan.tables), cores=2) for run in job.runs}
    rows = 0
    for key, table in plan.tables.items():
        for row in table.rows:
            if row.kind == "train" and plan.row_reason(key, row.label) is None:
                runs = plan.row_runs(key, row.label)
                assert set(runs) == set(plan.seeds_of(table.paper)), (key, row.label)
                assert set(runs.values()) <= served, (key, row.label)
                rows += table.paper == "boxinst"
    assert rows > 20
    counts = Counter(name.split("_")[0] for name in named(printed, "Measure"))
    assert counts["colour-affinity"] == counts["complexity"] == 1 and {*counts} == {*sets()}
    assert named(printed, "Render") == {*plan.tables}


def test_a_target_trains_only_what_its_tables_show(clean):
    plan = make_plan("tiny")
    for target, tables in (
        ("boxinst_1b", ["boxinst/1b"]),
        ("boxinst", [key for key in plan.tables if key.startswith("boxinst/")]),
        (None, [key for key, table in plan.tables.items() if table.headline]),
    ):
        printed = snakemake(clean, "--dry-run", *(["--", target] if target else []))
        assert named(printed, "Train") == planned(plan, tables), target
        assert named(printed, "Render") == {*tables}
    assert not training(dry(clean, "--", "figure4"))


@pytest.mark.parametrize(
    ("target", "measured"),
    [
        ("boxcaseg_7", {"proxy"}), ("boxcaseg_3", set()), ("baiseg_3", {"boundary", "complexity"}),
        ("baiseg_7", set()), ("sim_4", {"pseudo"}), ("figure4", {"colour-affinity"}),
        ("boxinst_1a", {"colour-affinity"}),
    ],
)  # fmt: skip
def test_measures_are_made_for_the_tables_that_show_them(clean, target, measured):
    printed = snakemake(clean, "--dry-run", "--config", "scale=smoke", "--", target)
    names = [name.split("_")[0] for name in named(printed, "Measure")]
    assert sorted(names) == sorted(measured)  # one process each: one seed, one kind of images


def test_a_file_that_lacks_a_measure_is_made_again_and_a_whole_one_is_not(clean):
    plan = make_plan("smoke")
    files = {}
    for key, cases in wanted(plan, ["baiseg/4"])["complexity"].items():
        path = path_of(clean / "results" / "smoke", "complexity", key)
        path.parent.mkdir(parents=True, exist_ok=True)
        values = dict.fromkeys(sets()["complexity"].names, 1.0)
        files[path] = {"values": dict.fromkeys(cases, values)}
        path.write_text(json.dumps(files[path]))
    words = ("--dry-run", "--config", "scale=smoke", "--", "baiseg_4")
    try:
        assert not named(snakemake(clean, *words), "Measure")
        path, content = next(iter(files.items()))
        content["values"] = {case: {"params": 1.0} for case in content["values"]}
        path.write_text(json.dumps(content))
        assert named(snakemake(clean, *words), "Measure") == {f"complexity_{path.stem}"}
    finally:
        shutil.rmtree(clean / "results")


def test_there_is_a_target_a_table_and_a_paper(clean):
    rules = set(snakemake(clean, "--list-rules").split())
    plan = make_plan("tiny")
    assert {f"{table.paper}_{table.table}" for table in plan.tables.values()} <= rules
    assert {"headline", "all", "boxinst", "sim", "boxcaseg", "baiseg", "plan", "smoke", "figure4"} <= rules


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["scale=huge"], "no scale 'huge'"),
        (["scal=tiny"], "unknown configuration: scal"),
        (["seeds=a"], "expected whole numbers"),
        (["set={model.width: 3}"], "model.width"),
        (["set=hello"], "set=hello: expected keys of a recipe"),
        (['set={"schedule": 5}'], "schedule: Input should be an object"),
        (["gpus=-1"], "gpus=-1: expected a whole number"),
    ],
)
def test_wrong_settings_are_refused_by_name(clean, settings, complaint):
    assert complaint in snakemake(clean, "--dry-run", "--config", *settings, "--", "all", code=1)


def test_a_scale_on_real_images_asks_for_them_before_it_starts(clean):
    printed = snakemake(clean, "--config", "scale=mini", "--", "boxinst_1b", code=1)
    assert "data_root=PATH" in printed
    assert not (clean / "results").exists()


def test_roots_are_judged_before_anything_trains(clean, coco_root, tmp_path):
    config = ("--config", "scale=mini", "gpus=0", "weights=none")
    printed = snakemake(clean, *config, f"data_root={tmp_path / 'nowhere'}", "--", "boxinst_3", code=1)
    assert "nowhere: no such folder" in printed
    root = coco_root(lambda content: [a.pop("segmentation") for a in content["annotations"]], "val2017")
    printed = snakemake(clean, *config, f"data_root={root}", "--", "boxinst_3", code=1)
    assert (
        jobs(printed)["judge"] == 1
        and "instances_val2017.json: none of its 4 annotations has a mask" in printed
    )
    assert not list((clean / "results" / "mini").glob("runs/*/train.json"))
    given = f'data_root={{"coco": "{root}"}}'
    assert jobs(snakemake(clean, "--dry-run", *config, given, "--", "boxinst_3"))["judge"] == 1


def test_a_verdict_that_is_made_again_holds_nothing_up(clean, coco_root):
    """Where an input is `ancient`, Snakemake forgets what is missing behind a job that runs again."""
    config = ("--config", "scale=mini", "gpus=0", "weights=none", f"data_root={coco_root.root}")
    try:
        snakemake(clean, *config, "--", "results/mini/data/coco-train2017-val2017-boxes.json")
        listed = dry(clean, *config, "seeds=[77]", "--", "boxinst_3")
        plan, table = make_plan("mini", (77,)), "boxinst/3"
        runs = {id for row in plan.tables[table].rows for id in plan.row_runs(table, row.label).values()}
        assert listed["judge"] == 1 and listed["train_short"] == listed["evaluate"] == len(runs) > 1
    finally:
        shutil.rmtree(clean / "results")


SMOKE = ("--config", "scale=smoke", "--", "all")


def test_every_root_is_drawn_by_its_own_job(clean):
    """A seed has plain and hard images: jobs that draw both would do so at once, into the same folders."""
    roots = {job.data for job in make_plan("tiny", (0,)).jobs}
    files = [f"results/tiny/data/{root}/stats.json" for root in roots]
    config = ("--config", "scale=tiny", "seeds=[0]")
    printed = snakemake(clean, "--dry-run", "--printshellcmds", *config, "--", *files)
    commands = [line for line in printed.splitlines() if "data make" in line]
    assert len(commands) == len(roots) > 1
    for root in roots:
        (command,) = (line for line in commands if f"rm -rf results/tiny/data/{root} " in line)
        assert f"--root {root} >" in command


def test_several_targets_at_once(clean):
    printed = snakemake(clean, "--dry-run", *SMOKE[:-1], "boxinst_1a", "boxinst_3", "figure4")
    assert named(printed, "Render") == {"boxinst/1a", "boxinst/3", "figure4"}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> Path:
    """A checkout after the whole smoke workflow: stopped in the midst of training, then run to its end."""
    checkout = copied(tmp_path_factory.mktemp("smoke"))
    process = subprocess.Popen(
        command(*SMOKE),
        cwd=checkout,
        env=environment(checkout),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 240
    while not list(checkout.glob("results/smoke/runs/*/log.jsonl")):
        assert process.poll() is None and time.monotonic() < deadline, "no training has begun"
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(120) != 0
    drawn = [str(file) for file in checkout.glob("results/smoke/data/*/stats.json")]
    (checkout / "stopped").write_text("\n".join(drawn))
    assert not (checkout / "reports/smoke/index.html").exists()
    snakemake(checkout, *SMOKE)
    return checkout


@pytest.mark.slow
def test_smoke_ends_with_a_report(smoke):
    report = smoke / "reports/smoke"
    assert "<html" in (report / "index.html").read_text(encoding="utf-8")[:500]
    assert json.loads((report / "diff.json").read_text())
    with (smoke / "results/smoke/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == COLUMNS
    plan = make_plan("smoke")
    assert {row["recipe"] for row in rows if row["value"]} - {""} >= set(plan.wanted(list(plan.tables)))


@pytest.mark.slow
def test_a_stopped_workflow_keeps_what_was_finished(smoke):
    stopped = (smoke / "stopped").stat().st_mtime
    drawn = (smoke / "stopped").read_text().splitlines()
    assert drawn and all(Path(file).stat().st_mtime < stopped for file in drawn)
    assert any(
        file.stat().st_mtime > stopped for file in smoke.glob("results/smoke/runs/*/model.safetensors")
    )


@pytest.mark.slow
def test_a_job_that_starts_again_trains_only_what_is_missing(smoke):
    plan = make_plan("smoke")
    lost, *others = plan.wanted(["boxinst/1b"])
    weights = {run: smoke / f"results/smoke/runs/{run}/model.safetensors" for run in (lost, *others)}
    records = {run: weights[run].with_name("train.json") for run in others}
    before = {run: path.stat().st_mtime_ns for run, path in weights.items()}
    kept = {run: path.stat().st_mtime_ns for run, path in records.items()}
    shutil.rmtree(weights[lost].parent)
    snakemake(smoke, *SMOKE)
    after = {run: path.stat().st_mtime_ns for run, path in weights.items()}
    assert after[lost] > before[lost]
    assert all(after[run] == before[run] for run in others)
    assert kept == {run: path.stat().st_mtime_ns for run, path in records.items()}
    assert all(path.with_name("train.json").exists() for path in weights.values())


@pytest.mark.slow
def test_a_second_call_does_nothing(smoke):
    assert dry(smoke, *SMOKE) == {}


@pytest.mark.slow
def test_results_of_a_workflow_without_marks_are_not_made_again(smoke):
    """As older versions left them, in which the runs' files were the outputs, or moved from elsewhere."""
    hidden = [
        (path, path.with_name(f"{path.name}.hidden"))
        for path in (smoke / "results/smoke/jobs", smoke / ".snakemake")
    ]
    for path, away in hidden:
        path.rename(away)
    try:
        assert dry(smoke, *SMOKE) == {}
    finally:
        for path, away in hidden:
            shutil.rmtree(path, ignore_errors=True)
            away.rename(path)


@pytest.mark.slow
def test_a_job_that_fails_keeps_what_it_finished_and_every_attempt_s_log(smoke):
    """One row of a table has a broken file of predictions: its attempts fail, the other rows keep theirs."""
    plan = make_plan("smoke")
    lost, *others = plan.wanted(["boxinst/1b"])
    folders = {run: smoke / "results/smoke/runs" / run for run in (lost, *others)}
    predictions = (folders[lost] / "predictions.json").read_text()
    written = {run: (folders[run] / "metrics.json").stat().st_mtime_ns for run in others}
    (folders[lost] / "predictions.json").write_text("{")
    checksum_file(folders[lost] / "predictions.json").unlink()  # as of a former version: nothing tells before
    (folders[lost] / "metrics.json").unlink()
    words = ("--config", "scale=smoke", "--", "boxinst_1b")
    try:
        snakemake(smoke, "--retries", "1", *words, code=1)
        log = smoke / f"results/smoke/logs/evaluate/{lost}-trained-1.log"
        attempts = sorted(log.parent.glob(f"{log.name}.*"))[-2:]
        assert all("predictions.json" in attempt.read_text() for attempt in attempts)
        assert log.resolve() == attempts[-1].resolve() and len({*attempts}) == 2
    finally:
        (folders[lost] / "predictions.json").write_text(predictions)
    snakemake(smoke, *words)
    assert written == {run: (folders[run] / "metrics.json").stat().st_mtime_ns for run in others}
    assert dry(smoke, *words) == {}


@pytest.mark.slow
def test_snakemake_s_report_shows_tables_figures_and_pictures(smoke):
    words = ("--config", "scale=smoke", "--report", "shown.html", "--", "boxinst_1a", "sim_4", "figure4")
    snakemake(smoke, *words)
    text = (smoke / "shown.html").read_text()
    assert all(
        f'"name": "{name}"' in text for name in ("table1a.html", "table4.html", "figure4.png", "maps.jpg")
    )


@pytest.mark.slow
@pytest.mark.parametrize("target", ["boxinst_3", "boxinst", "boxcaseg_8", "headline"])
def test_another_target_which_groups_runs_in_another_way_does_nothing_either(smoke, target):
    assert dry(smoke, "--config", "scale=smoke", "--", target) == {}


@pytest.mark.slow
def test_a_lost_metrics_file_is_evaluated_again_and_nothing_trained(smoke):
    plan = make_plan("smoke")
    run = plan.wanted(["boxinst/1b"])[0]
    file = smoke / f"results/smoke/runs/{run}/metrics.json"
    hidden = file.with_suffix(".hidden")
    file.rename(hidden)
    try:
        printed = snakemake(smoke, "--dry-run", *SMOKE)
        assert named(printed, "Evaluate") == {f"{run}-trained-1"} and not named(printed, "Train")
        assert named(printed, "Render") == {table for table, _ in plan.runs[run].rows}
    finally:
        hidden.rename(file)
    assert dry(smoke, *SMOKE) == {}


@pytest.mark.slow
def test_edited_code_trains_nothing_again_and_a_changed_recipe_does(smoke):
    for name in ("wsis/methods/__init__.py", "wsis/plan.py", "workflow/rules/train.smk"):
        path = smoke / name
        path.write_text(path.read_text() + "\n# edited\n")
    assert dry(smoke, *SMOKE) == {}
    listed = dry(
        smoke, "--config", "scale=smoke", "set={schedule.lr: 0.02, data.short_side: [48]}", "--", "all"
    )
    assert any(name.startswith("train_") for name in listed)


@pytest.mark.slow
def test_the_overhead_of_the_smoke_run_was_recorded(smoke):
    entries = overhead(smoke / "results")
    assert entries[-1].finished and all(entry.cores == 2 for entry in entries)
    assert sum(entry.runs for entry in entries) == len(list(smoke.glob("results/smoke/runs/*/train.json")))
    assert all(entry.ratio > 1 for entry in entries)


def test_a_job_s_own_process_finds_the_jobs_that_the_workflow_began_with(clean):
    """As on a cluster, where it starts when more is finished than when the workflow began."""
    plan = make_plan("smoke")
    tables = ["boxinst/1b"]
    began = work(plan, tables, clean / "results").on(plan, 0)
    write_work(began, clean / "results" / "smoke")
    job = began.trainings[0]
    try:
        printed = snakemake(
            clean,
            *("--mode", "remote", "--dry-run", "--config", "scale=smoke", "--target-jobs"),
            *(f"train_short:job={job.id}", "--allowed-rules", "train_short", "shapes", "--"),
        )
        assert named(printed, "Train") == {job.id}
    finally:
        shutil.rmtree(clean / "results")
