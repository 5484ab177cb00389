"""The workflow on a real Slurm: tests/slurm/cluster start FOLDER --accounting, then

python tests/slurm/scenarios.py WORK [NAME ...]

Small trainings on the CPU stand for those on cards, which Slurm counts and lends as if they were there. WORK
is a folder for images and results, on a file system that every node sees. Each scenario (all by default) is
one or more calls of snakemake with the profile that users get; what happened is told by Slurm's own records
and by the runs' files, checked, and written to WORK/SUMMARY.md. The executor is needed: pip install
'snakemake-executor-plugin-slurm'.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from wsis.configuration import overrides
from wsis.plan import make_plan

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "model.backbone": "tiny",
    "data": {"train": "train", "eval": "val", "short_side": [64], "eval_short_side": 64, "max_side": 64},
    "schedule": {"batch": 4, "devices": 4, "iterations": 20},
}
POLLS = ["--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "10"]  # those of a test
POLLS += ["--set-threads", "train_short=1"]
UNACCOUNTED = ["--slurm-no-account"]  # the profile's line for a cluster without accounting
ARRAYS = ["--slurm-array-jobs", "train_short,evaluate"]
TWO, FOUR = "boxinst/2", "boxinst/1b"  # tables of two and of four trainings


def accounting() -> bool:
    """Whether this cluster keeps accounts (sacct)."""
    told = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=True).stdout
    return "accounting_storage/none" not in told


class Workflow:
    """snakemake for one table in a folder of its own, with Slurm's records of its jobs while it runs."""

    def __init__(
        self, folder: Path, images: Path, iterations: int = 20, table: str = TWO, **config: object
    ) -> None:
        settings = json.loads(json.dumps(SETTINGS))
        settings["schedule"]["iterations"] = iterations
        self.folder, self.table, self.records = folder, table, dict[str, dict[str, str]]()
        self.former = set[str]()  # jobs of an earlier call of the scenario
        self.look()
        self.former |= {*self.records}
        self.records.clear()
        self.config = {"scale": "mini", "seeds": [21], "weights": "none", "set": settings} | config
        self.config["data_root"] = f"coco={images}"
        folder.mkdir(parents=True)

    @property
    def words(self) -> list[str]:
        return [
            key + "=" + (value if isinstance(value, str) else json.dumps(value))
            for key, value in self.config.items()
        ]

    def start(self, *options: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile")]
        command += ["--workflow-profile", str(ROOT / "workflow" / "profiles" / "slurm"), *POLLS]
        command += [*([] if accounting() else UNACCOUNTED), *options]
        command += ["--config", *self.words, "--", self.table.replace("/", "_")]
        environment = os.environ | {"WSIS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
        with (self.folder / "snakemake.log").open("a") as log:
            return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)

    def finish(self, process: subprocess.Popen, act: Callable[[Workflow], bool] | None = None) -> int:
        """Wait for the end; `act` is called every second until it says that it has acted."""
        while process.poll() is None:
            self.look()
            if act and act(self):
                act = None
            time.sleep(1)
        self.look()
        return process.returncode

    def run(self, *options: str, act: Callable[[Workflow], bool] | None = None) -> int:
        return self.finish(self.start(*options), act)

    def look(self) -> None:
        """Keep what scontrol says of every job that lies in this folder, by its id."""
        told = subprocess.run(
            ["scontrol", "show", "job", "--oneliner"], capture_output=True, text=True, check=False
        )
        for line in told.stdout.splitlines():
            record = dict(re.findall(r"(\w+)=(\S*)", line))
            if record.get("WorkDir") == str(self.folder) and record["JobId"] not in self.former:
                self.records[record["JobId"]] = record

    def jobs(self, rule: str) -> list[dict[str, str]]:
        return [each for each in self.records.values() if rule in each.get("Comment", "")]

    def trained(self) -> dict[str, dict]:
        """Run -> its train.json."""
        files = self.folder.glob("results/mini/runs/*/train.json")
        return {file.parent.name: json.loads(file.read_text()) for file in files}

    def trains(self, seconds: float = 10) -> bool:
        """Whether a run's log was begun that long ago."""
        logs = [log for log in self.folder.glob("results/mini/runs/*/log.jsonl") if log.is_file()]
        begun = min((log.parent / "recipe.json").stat().st_mtime for log in logs) if logs else time.time()
        return time.time() - begun > seconds

    def first_run(self) -> str:
        """Id of the table's first run."""
        return make_plan("mini", (21,), overrides(self.config)).wanted([self.table])[0]


def brief(records: list[dict[str, str]]) -> list[str]:
    keys = ("JobId", "ArrayTaskId", "JobState", "Restarts", "TresPerJob")
    return [" ".join(record.get(key, "-") for key in keys) for record in records]


def arrays_and_cards(folder: Path, images: Path) -> str:
    """A class is an array in its partition with its cards; a row that fails costs the others nothing."""
    flow = Workflow(folder, images, table=FOUR, gpus=2)
    options = [*ARRAYS, "--set-resources", "train_short:slurm_partition=gpu", "--retries", "0"]
    lost = flow.first_run()
    broken = folder / "results/mini/runs" / lost / "log.jsonl"
    broken.mkdir(parents=True)  # where a file is to be written
    assert flow.run(*options) != 0
    first = flow.jobs("train_short")
    tasks = [job for job in first if "ArrayJobId" in job]
    assert len(tasks) >= 3 and len({job["ArrayJobId"] for job in tasks}) == 1, brief(first)
    assert {job["Partition"] for job in first} == {"gpu"}
    assert all(re.search(r"gpu[:=]2$", job["TresPerJob"]) for job in first), brief(first)
    others = flow.trained()
    assert lost not in others and len(others) == 3, [*others]
    broken.rmdir()
    known = set(flow.records)
    assert flow.run(*options) == 0
    again = [job for job in flow.jobs("train_short") if job["JobId"] not in known]
    assert len(again) == 1 and set(flow.trained()) == {*others, lost}
    assert all(flow.trained()[run] == others[run] for run in others)
    page = (folder / "reports/mini/index.html").exists()
    return (
        f"{len(first)} trainings with 2 cards each in partition gpu, {len(tasks)} of them one array; one row"
        f" failed, {len(others)} were finished; the second call trained that row alone; report: {page}"
    )


def cancelled(folder: Path, images: Path) -> str:
    """scancel ends a training in the middle; the next call goes on from its checkpoint."""
    flow = Workflow(folder, images, iterations=60, gpus=0)

    def cancel(flow: Workflow) -> bool:
        for job in flow.jobs("train_short"):
            if job["JobState"] == "RUNNING" and flow.trains():
                subprocess.run(["scancel", job["JobId"]], check=True)
                return True
        return False

    assert flow.run("--jobs", "1", "--retries", "0", act=cancel) != 0
    stopped = [job for job in flow.jobs("train_short") if job["JobState"] == "CANCELLED"]
    assert len(stopped) == 1, brief(flow.jobs("train"))
    saved = [file.name for file in folder.glob("results/mini/runs/*/checkpoints/*.pt")]
    assert saved, "no checkpoint"
    assert flow.run() == 0
    resumed = [content["resumed"] for content in flow.trained().values()]
    assert sum(resumed) == 1, resumed
    return f"1 of {len(resumed)} trainings was cancelled, wrote its checkpoint, and went on from it"


def preempted(folder: Path, images: Path) -> str:
    """Jobs of another partition take the cards: Slurm requeues the training, which goes on afterwards."""
    flow = Workflow(folder, images, iterations=60)

    def urgent(flow: Workflow) -> bool:
        if not flow.trains():
            return False
        command = ["sbatch", "-p", "urgent", "--nodes=2", "--gpus-per-node=2", "--output=/dev/null"]
        subprocess.run([*command, "--wrap", "sleep 20"], check=True, stdout=subprocess.DEVNULL)
        return True

    options = ["--set-resources", "train_short:slurm_partition=gpu"]
    assert flow.run(*options, act=urgent) == 0
    restarts = {job["JobId"]: int(job["Restarts"]) for job in flow.jobs("train_short")}
    resumed = [content["resumed"] for content in flow.trained().values()]
    assert sum(restarts.values()) >= 1 <= sum(resumed), (restarts, resumed)
    return (
        f"{sum(restarts.values())} trainings were requeued under their job's id, {sum(resumed)} went on from"
        " a checkpoint; one call of snakemake"
    )


def killed(folder: Path, images: Path) -> str:
    """Snakemake dies alone; a second call meets its training, waits for it and finds it finished."""
    flow = Workflow(folder, images, iterations=250, gpus=0)
    first = flow.start()
    while first.poll() is None and not flow.trains():
        flow.look()
        time.sleep(1)
    first.kill()
    first.wait()
    assert flow.start("--unlock").wait() == 0
    known = {job["JobId"] for job in flow.jobs("train_short") if job["JobState"] == "RUNNING"}
    assert known, brief(flow.jobs("train"))
    assert flow.run() == 0
    waited = [
        log.name for log in folder.glob("results/mini/logs/train/*.log.*") if "waits for" in log.read_text()
    ]
    resumed = [content["resumed"] for content in flow.trained().values()]
    ends = {job["JobId"]: job["JobState"] for job in flow.jobs("train_short")}
    assert waited and sum(resumed) == 0, (waited, resumed, ends)
    assert {ends[job] for job in known} == {"COMPLETED"}, ends
    return (
        f"{len(known)} trainings outlived Snakemake; {len(waited)} jobs of the next call waited for them and"
        f" trained nothing; {len(resumed)} runs, each trained once"
    )


def uncut(flow: Workflow, run: str) -> Path:
    """Train a run of the workflow again, here and in one go; returns its folder."""
    folder = flow.folder / "uncut"
    words = ["--scale", "mini", "--seeds", "21", "--data-root", flow.config["data_root"], "--cores", "1"]
    for key, value in overrides(flow.config).items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    command = [sys.executable, "-m", "wsis", "train", run, *words, "--devices", "1", "--accelerator", "cpu"]
    folder.mkdir()
    subprocess.run(command, check=True, cwd=folder, stderr=subprocess.DEVNULL)
    return folder / "results/mini/runs" / run


def limit_while_predicting(folder: Path, images: Path) -> str:
    """The notice of a limit comes between predictions: the job is queued again and goes on with the rest."""
    flow = Workflow(folder, images, iterations=5, gpus=0)
    flow.config["set"]["data"] |= {"eval_short_side": 1600, "max_side": 1600}  # seconds an image
    stopped = []

    def notice(flow: Workflow) -> bool:
        for part in folder.glob("results/mini/runs/*/.predictions.json.0.part"):
            for job in flow.jobs("train_short"):
                if part.parent.name in job["Comment"] and part.read_bytes().count(b"\n") > 1:
                    subprocess.run(["scancel", "--signal=USR1", job["JobId"]], check=True)
                    stopped.append(part.parent.name)
                    return True
        return False

    assert flow.run("--jobs", "1", "--retries", "0", act=notice) == 0
    (run,) = stopped
    log = (folder / f"results/mini/logs/train/{run}.log.1").read_text()
    after = re.search(r"stopped after predicting (\d+) of (\d+) images", log)
    assert after and int(after[1]) < int(after[2]), log
    restarts = [int(job["Restarts"]) for job in flow.jobs("train_short") if run in job["Comment"]]
    assert restarts == [1], brief(flow.jobs("train_short"))
    name = "predictions.json"
    same = (folder / "results/mini/runs" / run / name).read_bytes() == (uncut(flow, run) / name).read_bytes()
    assert same and flow.trained()[run]["resumed"] == 0
    return (
        f"stopped after {after[1]} of {after[2]} images and queued again; trained nothing anew, and its"
        " predictions are byte for byte those of an uncut run"
    )


def limit_while_evaluating(folder: Path, images: Path) -> str:
    """The notice of a limit comes before the first of two runs is evaluated: the second one is left."""
    flow = Workflow(folder, images, iterations=5, gpus=0)
    assert flow.run() == 0
    metrics = [folder / "results/mini/runs" / run / "metrics.json" for run in flow.trained()]
    for file in metrics:
        file.unlink()  # those of a workflow that was stopped before
    known = {*flow.records}

    logs = folder / "results/mini/logs/evaluate"

    def notice(flow: Workflow) -> bool:
        for job in flow.jobs("evaluate"):
            first = job["JobId"] not in known and job["Restarts"] == "0" and job["JobState"] == "RUNNING"
            if first and [*logs.glob("*-trained-2.log.1")]:  # the command begins
                subprocess.run(["scancel", "--signal=USR1", job["JobId"]], check=True)
        return False  # until it is heard

    assert flow.run("--retries", "0", act=notice) == 0
    jobs = [job for job in flow.jobs("evaluate") if job["JobId"] not in known]
    assert [job["Restarts"] for job in jobs] == ["1"], brief(jobs)
    (log,) = logs.glob("*-trained-2.log.1")
    assert "stopped after evaluating 1 of 2 runs" in log.read_text(), log.read_text()
    assert log.with_suffix(".2").exists() and all(file.exists() for file in metrics)
    apart = abs(metrics[0].stat().st_mtime - metrics[1].stat().st_mtime)
    assert apart > 60, "the first run was evaluated again"  # Slurm holds a job back for two minutes
    return f"stopped after 1 of 2 runs and queued again; the other one was evaluated {apart:.0f} s later"


def requeue_forbidden(folder: Path, images: Path) -> str:
    """Jobs that can't be queued again fail at their limit, and Snakemake's retries go on."""
    flow = Workflow(folder, images, iterations=300)
    limits = ["train_short:runtime=2", "train_short:slurm_extra='--signal=USR1@20 --no-requeue'"]
    assert flow.run("--set-resources", *limits, "--retries", "5") == 0
    logs = [log.read_text() for log in sorted(folder.glob("results/mini/logs/train/*.log.*"))]
    told = sum("can't be put into the queue again" in log for log in logs)
    jobs = flow.jobs("train_short")
    resumed = [content["resumed"] for content in flow.trained().values()]
    restarts = sum(int(job["Restarts"]) for job in jobs)
    assert told == sum(resumed) >= 1 and restarts == 0, (told, resumed, brief(jobs))
    ends = [job["JobState"] for job in jobs]
    assert ends.count("FAILED") == told and ends.count("COMPLETED") == len(resumed), brief(jobs)
    return f"{told} jobs ended at their limits with status 75; the retries went on ({resumed} times)"


def time_limits(folder: Path, images: Path) -> str:
    """Trainings over three limits and more, in an array; their weights are those of an uncut one."""
    flow = Workflow(folder, images, iterations=650)
    limits = ["runtime=2", "slurm_extra='--signal=USR1@20'"]
    options = [*ARRAYS, "--set-resources", *(f"train_short:{limit}" for limit in limits), "--retries", "0"]
    assert flow.run(*options) == 0
    run, cut = max(flow.trained().items(), key=lambda each: each[1]["resumed"])
    assert cut["resumed"] >= 3, cut["resumed"]
    whole = json.loads((uncut(flow, run) / "train.json").read_text())
    assert cut["weights"] == whole["weights"] and not whole["resumed"], (cut, whole)
    jobs = flow.jobs("train_short")
    assert all(job["JobState"] == "COMPLETED" for job in jobs), brief(jobs)
    restarts = [int(job["Restarts"]) for job in jobs]
    return (
        f"{cut['resumed']} limits cut one training ({restarts} requeues of the {len(jobs)} jobs, none failed,"
        f" no retries); its weights ({cut['weights']}) are those of an uncut one"
    )


def two_machines(folder: Path, images: Path) -> str:
    """A training on two machines with one process each."""
    flow = Workflow(folder, images, gpus=2, nodes=2)
    assert flow.run() == 0
    jobs = [job for job in flow.jobs("train_short") if job["NumNodes"] == "2"]
    devices = {content["devices"] for content in flow.trained().values() if content["iterations"]}
    assert jobs and devices == {2}, (jobs, devices)
    return f"{len(jobs)} trainings on nodes {jobs[0]['NodeList']}, two devices each"


SCENARIOS = [
    arrays_and_cards,
    cancelled,
    preempted,
    killed,
    limit_while_predicting,
    limit_while_evaluating,
    requeue_forbidden,
    time_limits,
    two_machines,
]


def images_in(folder: Path) -> Path:
    """A root of synthetic images, drawn once."""
    words = ["data", "make", "--scale", "smoke", "--seed", "0", "--results", str(folder), "--root"]
    plan = make_plan("smoke", (0,))
    root = next(job.data for job in plan.jobs if job.data)
    subprocess.run(
        [sys.executable, "-m", "wsis", *words, root], check=True, stdout=subprocess.DEVNULL, cwd=folder.parent
    )
    return folder / "smoke" / "data" / root


def main(work: Path, names: list[str]) -> None:
    work.mkdir(parents=True, exist_ok=True)
    images = images_in(work / "images")
    lines = []
    for scenario in SCENARIOS:
        if names and scenario.__name__ not in names:
            continue
        folder = work / scenario.__name__
        shutil.rmtree(folder, ignore_errors=True)
        began = time.monotonic()
        try:
            told = scenario(folder, images)
        except AssertionError as error:
            told = f"FAILED: {error}; see {folder / 'snakemake.log'}"
        lines.append(f"| {scenario.__name__} | {told} | {time.monotonic() - began:.0f} s |")
        print(lines[-1], flush=True)
    version = subprocess.run(
        ["sinfo", "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    plugin = metadata.version("snakemake-executor-plugin-slurm")
    text = f"{version}, snakemake {metadata.version('snakemake')}, its executor {plugin};"
    text += f" {'with' if accounting() else 'without'} accounting.\n\n"
    text += "| scenario | what happened | took |\n| --- | --- | --- |\n" + "\n".join(lines) + "\n"
    (work / "SUMMARY.md").write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
