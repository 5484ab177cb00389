"""Runs of a plan, one after another: train, predict, and write a run's folder.

A run's folder holds recipe.json, model.pt, log.jsonl, predictions.json, train.json and environment.json;
the last two are written at the end, so a folder with all of them is finished; checkpoints/ then keeps a copy
of train.json and nothing else.
"""

from __future__ import annotations

import shutil
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric import Fabric
from torch import nn

from wsis.data.places import Roots, run_root, salient_place
from wsis.data.roots import Root, official, open_root
from wsis.data.salient import SalientRoot, open_salient
from wsis.data.structures import Batch
from wsis.declare.recipe import Recipe
from wsis.declare.stored import difference
from wsis.engine.checkpoint import digest, load_model
from wsis.engine.devices import lease, visible_devices
from wsis.engine.environment import environment
from wsis.engine.folder import COPY, finished, restored
from wsis.engine.launch import launch, make_fabric, set_threads
from wsis.engine.seeding import seed_process
from wsis.engine.signals import Interrupted
from wsis.engine.stages import batches, predict
from wsis.engine.train import TrainOptions, train
from wsis.errors import WsisError
from wsis.files import read_json, write_json
from wsis.methods import build_method
from wsis.methods.baiseg.threshold import restore_threshold
from wsis.provenance import code_hash
from wsis.proxy.run import load_proxies, make_proxies, proxies_complete

if TYPE_CHECKING:
    from wsis.plan import Plan


@dataclass(frozen=True)
class RunOptions:
    """How runs are executed on this machine.

    accelerator: None takes the graphics cards where there are any, else the CPU
    devices: None takes as many as the recipe wants and the machine has
    threads: of each process; None takes OMP_NUM_THREADS or torch's choice
    workers: threads that read images; None takes 0 on the CPU and 4 with a card
    """

    accelerator: str | None = None
    devices: int | None = None
    threads: int | None = None
    workers: int | None = None
    train: TrainOptions = field(default_factory=TrainOptions)


@dataclass(frozen=True)
class Job:
    """One run with everything its processes need to know; picklable."""

    recipe: Recipe
    scale: str
    folder: Path
    root: Path
    parent: Path | None
    origin: Path | None  # folder of the run whose proxy masks it learns
    salient: Path | None  # root of salient images
    predicts: bool  # a table shows its predictions
    proxied: bool  # another run learns from its masks of the training objects
    deviations: tuple[str, ...]
    accelerator: str
    devices: tuple[int, ...]
    options: RunOptions


def train_runs(
    plan: Plan,
    ids: Sequence[str],
    results: Path,
    data_root: Roots = None,
    options: RunOptions = RunOptions(),
) -> None:
    """Train and predict the plan's runs `ids` in this order into results/<scale>/runs/<id>/.

    data_root: the user's data set or sets (see wsis.data.places); generated ones need none.
    Finished runs are skipped. A run that fails doesn't stop those that don't start from it; at the end a
    WsisError names all that failed. SIGTERM and SIGUSR1 stop everything: SystemExit with status 143 or 138.
    """
    if unknown := [run for run in ids if run not in plan.runs]:
        raise WsisError(
            f"no run {', '.join(unknown)} at scale {plan.scale.name} with these seeds; see `wsis plan`"
        )
    folders = {run: results / plan.scale.name / "runs" / run for run in ids}
    base, proxied = results / plan.scale.name / "runs", plan.proxied
    todo = []
    for run in ids:
        needs = plan.runs[run].needs
        fresh = not set(needs) & set(todo)
        predicts, recipe = plan.predicts(run), plan.runs[run].recipe
        done = finished(folders[run], recipe, predicts) or (
            fresh and restored(folders[run], recipe, [base / needed for needed in needs], predicts)
        )
        if not done or (run in proxied and not proxies_complete(folders[run])):
            todo.append(run)
    failed: dict[str, str] = {}
    if not todo:
        return
    set_threads(options.threads)
    accelerator = options.accelerator or ("cuda" if torch.cuda.is_available() else "cpu")
    wanted = max(_wanted(plan.runs[run].recipe, accelerator, options) for run in todo)
    with lease_devices(accelerator, wanted) as devices:
        for run in todo:
            if broken := [needed for needed in plan.runs[run].needs if needed in failed]:
                failed[run] = f"its parent {broken[0]} failed"
                continue
            try:
                _run(make_job(plan, run, results, data_root, accelerator, devices, options))
            except Interrupted as error:
                print(error, file=sys.stderr, flush=True)
                raise SystemExit(error.status) from None
            except WsisError as error:
                failed[run] = str(error)
            except Exception as error:  # a bug in one run must not stop the others
                traceback.print_exc()
                failed[run] = f"{type(error).__name__}: {error}"
            if run in failed:
                print(f"{run} failed: {failed[run]}", file=sys.stderr, flush=True)
    if failed:
        raise WsisError("; ".join(f"{run}: {reason}" for run, reason in failed.items()))


def lease_devices(accelerator: str, wanted: int) -> AbstractContextManager[list[int]]:
    """Context that holds `wanted` devices: cards nobody else uses, or on the CPU the numbers 0, 1, ..."""
    if accelerator == "cpu":
        return nullcontext(list(range(wanted)))
    return lease(visible_devices(torch.cuda.device_count()), wanted)


def make_job(
    plan: Plan,
    run: str,
    results: Path,
    data_root: Roots,
    accelerator: str,
    devices: Sequence[int],
    options: RunOptions,
) -> Job:
    """The plan's run `run`, on as many of `devices` as its recipe can use."""
    planned, base = plan.runs[run], results / plan.scale.name
    recipe = planned.recipe.settled()
    root = run_root(recipe, results, plan.scale.name, data_root)
    parent = base / "runs" / planned.parent / "model.pt" if planned.parent else None
    count = _wanted(recipe, accelerator, options)
    chosen = tuple(devices[:count])
    folder = base / "runs" / run
    return Job(
        recipe,
        plan.scale.name,
        folder,
        root,
        parent,
        base / "runs" / recipe.proxy.parent if recipe.proxy else None,
        salient_place(recipe, results, plan.scale.name, data_root),
        plan.predicts(run),
        run in plan.proxied,
        planned.deviations,
        accelerator,
        chosen,
        options,
    )


def _wanted(recipe: Recipe, accelerator: str, options: RunOptions) -> int:
    """Devices to train `recipe` on: what was asked for, else the most that are there and divide its batch."""
    if options.devices:
        return options.devices
    there = torch.cuda.device_count() if accelerator == "cuda" else 1
    most = min(recipe.schedule.devices, max(there, 1))
    return next(n for n in range(most, 0, -1) if recipe.schedule.batch % n == 0)


def _run(job: Job) -> None:
    print(f"{job.recipe.id}: training in {job.folder}", file=sys.stderr, flush=True)
    if len(job.devices) > 1:
        launch(execute, (job,), len(job.devices))
    else:
        execute(job)


def execute(job: Job) -> None:
    """Train and predict one run; called on every rank, in a process of its own when there are several."""
    set_threads(job.options.threads)
    recipe, folder, run = job.recipe, job.folder, job.recipe.id
    fabric = make_fabric(recipe.schedule, job.accelerator, job.devices)
    first = fabric.global_rank == 0
    proxies, found = load_proxies(job.origin, recipe.proxy, recipe.seed) if job.origin else (None, None)
    root = _opened(recipe, job.root, proxies)
    if finished(job.folder, recipe, job.predicts):  # another run has come to need its masks
        seed_process("weights", recipe.seed)
        method = build_method(recipe, root.num_classes)
        method.load_state_dict(load_model(folder / "model.pt")["model"])
        restore_threshold(method, folder)
        make_proxies(method, root, folder, fabric, job.options.train.progress)
        return
    if first:
        _forget_other_settings(job)
        tree = recipe.model_dump(mode="json")
        parent = recipe.init.parent if recipe.init else None
        write_json(folder / "recipe.json", {"id": run, "scale": job.scale, "recipe": tree, "parent": parent})
        for name in ("train.json", "environment.json", COPY):  # of a run that is being repeated
            (folder / name).unlink(missing_ok=True)
    if first:
        _forget_other_origins(job, proxies and found["weights"])
    fabric.barrier()
    code = code_hash(recipe.method)  # of the code that trains, whatever is edited meanwhile
    seed_process("weights", recipe.seed)
    method = build_method(recipe, root.num_classes)
    try:
        summary = _trained(job, method) or _train(job, method, root, fabric)
        if job.predicts:
            path = folder / "predictions.json"
            summary |= predict(recipe, method, root, path, fabric, job.options.train.progress)
        if job.proxied:
            make_proxies(method, root, folder, fabric, job.options.train.progress)
    except torch.OutOfMemoryError as error:
        reason = str(error).splitlines()[0]
        raise WsisError(f"{run}: {reason}; let fewer images share a device (--max-images)") from None
    if first:
        _finish(job, summary, root, fabric.device, code, found)


def _train(job: Job, method: nn.Module, root: Root, fabric: Fabric) -> dict[str, Any]:
    workers = job.options.workers
    if workers is None:
        workers = 4 if job.accelerator == "cuda" else 0

    def stream(start: int, rank: int, world: int, micro: int) -> Iterator[list[Batch]]:
        return batches(job.recipe, root, _salient(job), start, rank, world, micro, workers)

    summary = train(job.recipe, method, stream, job.folder, fabric, job.parent, job.options.train)
    if fabric.global_rank == 0:
        write_json(job.folder / "checkpoints" / "trained.json", {"recipe": job.recipe.id, "summary": summary})
    return summary


def _trained(job: Job, method: nn.Module) -> dict[str, Any] | None:
    """Summary of a training that an earlier process finished without predicting; its weights are loaded."""
    note, weights = job.folder / "checkpoints" / "trained.json", job.folder / "model.pt"
    if not (note.exists() and weights.exists()):
        return None
    content, model = read_json(note), load_model(weights)
    if not content["recipe"] == model["recipe"] == job.recipe.id:
        return None
    method.load_state_dict(model["model"])
    return content["summary"]


def _forget_other_settings(job: Job) -> None:
    """Drop what a training with other settings has left to continue from: its id may be the same."""
    if text := difference(job.folder, job.recipe):
        print(f"{job.recipe.id}: {text}: starts afresh", file=sys.stderr, flush=True)
        shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)


def _forget_other_origins(job: Job, proxies: str | None) -> None:
    """Drop an interrupted training that started from other weights or learnt other masks than there are."""
    parent = digest(job.parent) if job.parent is not None else None
    note, now = job.folder / "checkpoints" / "origin.json", {"parent": parent, "proxies": proxies}
    if note.exists() and read_json(note) != now:
        print(
            f"{job.recipe.id}: what it starts from was trained again: starts afresh",
            file=sys.stderr,
            flush=True,
        )
        shutil.rmtree(note.parent)
    write_json(note, now)


def _salient(job: Job) -> SalientRoot | None:
    """The job's salient images; the list of those with one object is kept under results/<scale>/data."""
    cache = job.folder.parents[1] / "data"
    return None if job.salient is None else open_salient(job.salient, cache=cache)


def _finish(
    job: Job,
    summary: dict[str, Any],
    root: Root,
    device: torch.device,
    code: str,
    proxies: dict[str, Any] | None,
) -> None:
    write_json(job.folder / "environment.json", environment(device))
    data = {
        "root_name": root.name,
        "train_images": root.train_images,
        "eval_images": root.eval_images,
        "fingerprint": root.fingerprint,
    }
    content = {
        **{"recipe": job.recipe.id, "scale": job.scale, **summary},
        "code": code,
        "weights": digest(job.folder / "model.pt"),
        "deviations": [*job.deviations, *summary["deviations"], *_unofficial(root), *_untaught(proxies)],
        "data": data,
    }
    if job.parent is not None:
        content["parent"] = {"id": job.parent.parent.name, "weights": digest(job.parent)}
    if (salient := _salient(job)) is not None:
        data |= {"salient_images": len(salient), "salient_fingerprint": salient.fingerprint}
    if proxies is not None:
        content["proxy"] = {"id": job.origin.name, **proxies}
    _clear_checkpoints(job)
    write_json(job.folder / COPY, content)
    write_json(job.folder / "train.json", content)


def _clear_checkpoints(job: Job) -> None:
    """Remove what a resume would need; of a run without predictions, all but what they could start from."""
    kept = set() if job.predicts else {"trained.json", "origin.json"}
    for path in (job.folder / COPY).parent.glob("*"):
        if path.name not in kept:
            path.unlink()


def _unofficial(root: Root) -> list[str]:
    """A deviation for each official split whose number of images is not the official one."""
    return [
        f"data: {split} has {found} images, the official split {expected}"
        for split, (found, expected, same) in official(root).items()
        if not same
    ]


def _untaught(proxies: dict[str, Any] | None) -> list[str]:
    """A deviation where a Mask R-CNN had no mask to learn: its AP is that of an untrained mask head."""
    if proxies is None or proxies.get("kept") != 0:  # instances of BAISeg's aren't dropped
        return []
    return [f"all {proxies['objects']} proxy masks were dropped: boxes were learnt, masks not at all"]


_roots: dict[tuple[Path, str], Root] = {}


def _opened(recipe: Recipe, path: Path, proxies: Mapping[int, dict] | None = None) -> Root:
    """`open_root`, or the last opened root where path and data section are the same."""
    if proxies is not None:
        return open_root(recipe, path, proxies)
    key = (path.resolve(), recipe.data.model_dump_json())
    if key not in _roots:
        _roots.clear()
        _roots[key] = open_root(recipe, path)
    return _roots[key]
