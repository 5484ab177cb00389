"""Runs of a plan, one after another, on the devices that are there."""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from wsis.card import ABOUT
from wsis.data.places import Roots, named_roots, run_root, salient_place
from wsis.declare.rate import doubts
from wsis.declare.recipe import Recipe
from wsis.declare.stored import weights_file
from wsis.disk import ask_for_room, disk_error
from wsis.engine.devices import accelerator_of, lease, visible_devices
from wsis.engine.execute import execute, execute_fellow
from wsis.engine.folder import finished, kept
from wsis.engine.job import Job, RunOptions
from wsis.engine.launch import launch, set_threads
from wsis.engine.memory import OutOfMemory, fewer_images
from wsis.engine.ranks import first_rank, local_ranks, outside
from wsis.errors import WsisError
from wsis.proxy.folder import proxy_files
from wsis.records import sound
from wsis.results.writer import sole_writer
from wsis.signals import Interrupted

if TYPE_CHECKING:
    from wsis.plan import Plan


def train_runs(
    plan: Plan, ids: Sequence[str], results: Path, data_root: Roots = None, options: RunOptions = RunOptions()
) -> None:
    """Train and predict the plan's runs `ids` in this order into results/<scale>/runs/<id>/.

    data_root: the user's data set or sets (see wsis.data.places); generated ones need none.
    Finished runs are skipped. A run that fails doesn't stop those that don't start from it; at the end a
    WsisError names all that failed. A signal stops everything: Interrupted (`wsis.signals`). A run that
    another process writes is waited for. A disk without room for what the plan says of them is refused
    before.
    """
    plan.check_known(ids)
    base, proxied, todo = results / plan.scale.name / "runs", plan.proxied, []

    def done(run: str) -> bool:
        """Whether a run stays as it is; asked when those that it needs are finished."""
        parents = [base / needed for needed in plan.runs[run].needs]
        stays = kept(base / run, plan.runs[run].recipe, parents, plan.predicts(run))
        return stays and _complete(base / run, run in proxied)

    for run in ids:
        if set(plan.runs[run].needs) & {*todo} or not done(run):
            todo.append(run)
    failed: dict[str, str] = {}
    if not todo:
        return
    for run in todo if plan.overrides else ():
        for doubt in doubts(plan.runs[run].recipe):
            print(f"{run}: warning: {doubt}", file=sys.stderr, flush=True)
    ask_for_room({base / run: plan.runs[run].disk_gb for run in todo})
    set_threads(options.threads)
    accelerator = accelerator_of(options.accelerator, options.devices)
    wanted = max(_wanted(plan.runs[run].recipe, accelerator, options) for run in todo)
    with lease_devices(accelerator, wanted) as devices:
        for run in todo:
            if broken := [needed for needed in plan.runs[run].needs if needed in failed]:
                failed[run] = f"its parent {broken[0]} failed"
                continue
            if done(run):  # what it needs was made again as it was
                continue
            try:
                _run(make_job(plan, run, results, data_root, accelerator, devices, options))
            except Interrupted:
                raise
            except WsisError as error:
                failed[run] = str(error)
            except OSError as error:
                text = disk_error(error)
                if text is None:
                    traceback.print_exc()
                failed[run] = f"{error.filename or plan.scale.name}: {text or error}"
            except Exception as error:  # a bug in one run must not stop the others
                traceback.print_exc()
                failed[run] = f"{type(error).__name__}: {error}"
            if run in failed:
                print(f"{run} failed: {failed[run]}", file=sys.stderr, flush=True)
    if failed:
        raise WsisError("; ".join(f"{run}: {reason}" for run, reason in failed.items()))


def lease_devices(accelerator: str, wanted: int) -> AbstractContextManager[list[int]]:
    """Context that holds `wanted` devices: cards nobody else uses, or on the CPU the numbers 0, 1, ...

    Ranks that were started from outside have the first cards of their machine, one each.
    """
    if ranks := outside():
        return nullcontext(list(range(local_ranks(ranks))))
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
    planned, scale = plan.runs[run], plan.scale.name
    runs, recipe = results / scale / "runs", planned.recipe.settled()
    return Job(
        recipe,
        scale,
        runs / run,
        run_root(recipe, results, scale, data_root),
        weights_file(runs / planned.parent) if planned.parent else None,
        runs / recipe.proxy.parent if recipe.proxy else None,
        salient_place(recipe, results, scale, data_root),
        plan.predicts(run),
        run in plan.proxied,
        (*planned.deviations, *_odd_device(plan, accelerator)),
        tuple(planned.rows),
        tuple(plan.protocols(run)),
        accelerator,
        tuple(devices[: _wanted(recipe, accelerator, options)]),
        options,
        {"set": plan.overrides, "data_root": _absolute(data_root)},
    )


def _odd_device(plan: Plan, accelerator: str) -> tuple[str, ...]:
    """The deviation of a training on another kind of device than its scale is made for."""
    kinds = {"cpu": "processor", "cuda": "graphics card"}
    made_for = "cpu" if plan.scale.data == "generated" else "cuda"
    if accelerator == made_for:
        return ()
    return (f"trained on a {kinds[accelerator]} instead of a {kinds[made_for]}",)


def _absolute(data_root: Roots) -> dict[str, str] | None:
    """The user's roots by their data sets, for commands that are started elsewhere."""
    return {name: str(path.resolve()) for name, path in named_roots(data_root).items()} or None


def _wanted(recipe: Recipe, accelerator: str, options: RunOptions) -> int:
    """Devices to train `recipe` on: what it can use of those that were asked for, else of those there are."""
    if ranks := outside():
        return ranks.world_size()
    there = torch.cuda.device_count() if accelerator == "cuda" else 1
    return recipe.schedule.usable_devices(options.devices or there)


def _run(job: Job) -> None:
    """Execute a job alone in its folder; out of memory, it goes on with half as many images at once.

    Nothing is left to do where a process that was waited for has done it. Of ranks that were started from
    outside the first one holds the folder, and out of memory they end.
    """
    with sole_writer(job.folder) if first_rank() else nullcontext():
        while not _done(job):
            print(f"{job.recipe.id}: training in {job.folder}", file=sys.stderr, flush=True)
            try:
                if len(job.devices) > 1 and not outside():
                    return launch(execute_fellow, (job,), len(job.devices))
                return execute(job)
            except OutOfMemory as error:
                if outside():
                    raise
                job = _smaller(job, error)
            gc.collect()  # what the failed step held
            torch.cuda.empty_cache()


def _done(job: Job) -> bool:
    return finished(job.folder, job.recipe, job.predicts) and _complete(job.folder, job.proxied)


def _complete(folder: Path, proxied: bool) -> bool:
    """Whether a finished run has what can be made again from its weights: model.json, and masks to learn."""
    return sound(folder / ABOUT, folder.name) and (not proxied or bool(proxy_files(folder)))


def _smaller(job: Job, error: OutOfMemory) -> Job:
    """The job with half as many images at once as have just run out of memory."""
    train = job.options.train
    images = fewer_images(job.recipe.schedule, len(job.devices), train.max_images, error)
    text = f"out of memory ({error}): goes on from its last checkpoint with {images} images at once"
    print(f"{job.recipe.id}: {text}", file=sys.stderr, flush=True)
    return replace(job, options=replace(job.options, train=replace(train, max_images=images)))
