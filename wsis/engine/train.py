"""The training loop: accumulation, precision, several devices, log, checkpoints, exact resume.

A batch of `schedule.batch` images is split into world * micro equal shards: rank r's micro-batch m is
shard m * world + r. Every shard has its own random generator, so the split over devices and over
accumulation steps changes nothing but the order of sums, and what a method looks at over a shard alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from wsis.data.loading import Shard
from wsis.data.structures import Arriving, Batch, sent
from wsis.declare.rate import learning_rate
from wsis.declare.recipe import Recipe
from wsis.engine.checkpoint import save_model
from wsis.engine.feed import on_device
from wsis.engine.gradients import Gradients
from wsis.engine.launch import device_name, precision_name
from wsis.engine.log import StepLog, mean_losses
from wsis.engine.memory import images_at_once
from wsis.engine.schedule import set_learning_rate, update
from wsis.engine.shards import split_deviations
from wsis.engine.state import TrainState
from wsis.engine.step import Step
from wsis.engine.tuning import as_written, tuned
from wsis.engine.validation import Validation
from wsis.errors import WsisError
from wsis.methods.base import Method
from wsis.progress import Progress
from wsis.signals import SIGNALS, Interrupted, StopRequest, leave, status_of

WATCHED = 100  # steps from one whose `Method.watched` is logged to the next
Stream = Callable[[Shard], Iterator[list[Batch]]]


@dataclass(frozen=True)
class TrainOptions:
    """How a training runs, as opposed to what it computes (which is the recipe).

    max_images: images a device holds at once; None: the recipe's batch / devices
    checkpoint_seconds: time between checkpoints (a shorter run writes none unless it is told to stop)
    checkpoint_iterations: in addition, a checkpoint after every so many iterations
    logger: what shows the log beside log.jsonl (`wsis.configuration.LOGGERS`)
    validation: what looks at the method on the way, if anything does
    ends_early: Ctrl-C ends the training here and keeps what there is, instead of breaking it off
    """

    max_images: int | None = None
    checkpoint_seconds: float = 600.0
    checkpoint_iterations: int | None = None
    progress: bool = True
    logger: str | None = None
    validation: Validation | None = None
    ends_early: bool = False


def train(
    recipe: Recipe,
    method: Method,
    stream: Stream,
    folder: Path,
    fabric: Fabric,
    parent: Path | None = None,
    options: TrainOptions = TrainOptions(),
) -> dict[str, Any]:
    """Train `method` to the end of the recipe's schedule and write the weights and log.jsonl into `folder`.

    Resumes from folder/checkpoints when that holds a checkpoint; else starts from the weights in `parent`
    (a file of weights) if given, or, with `init.iteration`, where that one stopped. The same on every rank.

    Returns seconds, iterations, resumed, losses, images_per_second, devices, device_name, precision,
    peak_memory and deviations of train.json; also validations and best where there were any, and ended where
    the user ended it. Raises Interrupted after SIGTERM or SIGUSR1 (a checkpoint is written) and WsisError at
    the first loss or gradient that is not finite. A method without parameters is written as it is.
    """
    if next(method.parameters(), None) is None:
        return _untrained(recipe, method, folder, fabric)
    state = TrainState(recipe, method, folder, fabric, parent)
    return _Training(state, folder, options).run(stream)


def _untrained(recipe: Recipe, method: Method, folder: Path, fabric: Fabric) -> dict[str, Any]:
    if recipe.schedule.end:
        raise WsisError(f"{recipe.id}: {recipe.method} has nothing to train: set schedule.iterations to 0")
    if fabric.global_rank == 0:
        StepLog(folder / "log.jsonl", 0).close()
        save_model(folder, recipe.id, 0, method)
    fabric.barrier()
    none = {"seconds": 0.0, "iterations": 0, "resumed": 0, "losses": {}, "images_per_second": 0.0}
    device = {"device_name": device_name(fabric.device), "precision": precision_name(fabric)}
    return {**none, "devices": fabric.world_size, **device, "peak_memory": None, "deviations": []}


class _Training:
    def __init__(self, state: TrainState, folder: Path, options: TrainOptions) -> None:
        self.state, self.folder, self.options = state, folder, options
        self.recipe, self.method, self.fabric = state.recipe, state.method, state.fabric
        self.id, self.schedule = state.recipe.id, state.recipe.schedule
        self.rank, self.world, self.device = state.rank, state.world, state.device
        images = images_at_once(self.schedule, self.world, options.max_images)
        self.micro = self.schedule.batch // self.world // images
        if images < (usual := images_at_once(self.schedule, self.world)):
            kept = f"batch {self.schedule.batch} kept by accumulation"
            state.note(f"{images} instead of {usual} images at once, {kept}")
        self.split = split_deviations(self.recipe, self.method, self.fabric, self.micro)
        self.validation = options.validation
        self.ended: int | None = None  # iterations done where the user ended it
        self.gradients = Gradients(state, self.micro)

    def run(self, stream: Stream) -> dict[str, Any]:
        state, total = self.state, self.schedule.end
        log, logger = self.folder / "log.jsonl", self.options.logger
        self.log = StepLog(log, state.offset, logger) if state.first else None
        self.saved = time.monotonic()
        lag = reads_late(self.device)
        title = f"{self.id} seed {self.recipe.seed}"
        waiting: Step | None = None
        with (
            StopRequest(self.options.ends_early) as self.stop,
            Progress(title, total, state.start, state.first and self.options.progress) as self.progress,
            closing(stream(Shard(state.start, self.rank, self.world, self.micro))) as read,
            tuned(self.method, self.schedule.compile),
        ):
            batches = on_device(read, self.device)
            for iteration in range(state.start, total):
                micros = next(batches, None)
                if micros is None:
                    raise WsisError(f"{self.id}: the training data ended at iteration {iteration} of {total}")
                step = self._step(iteration, micros)
                done, waiting = (waiting, step) if lag else (step, None)
                stop, save = self._settle(done)
                check = self.validation is not None and self.validation.due(iteration + 1)
                if stop or save or check:
                    self._settle(waiting)
                    waiting = None
                    if check:
                        with as_written(self.method):
                            self._validate(iteration)
                    state.save(iteration + 1, self.log)
                    self.saved = time.monotonic()
                if stop and self.stop.ends:
                    self.ended = total = iteration + 1
                    break
                if stop:
                    text = f"{self.id}: stopped at iteration {iteration + 1} of {total}"
                    raise Interrupted(text, status_of(self.stop.signal))
            self._settle(waiting)
        if self.stop.signal in SIGNALS:  # it came after the last step's flags were sent
            leave(self.stop.signal)
        state.share_buffers()
        seconds = state.seconds()
        if self.log:
            self.log.close()
            more = state.optimizer_state() if self.schedule.until else None
            save_model(self.folder, self.id, total, self.method, more)
        self.fabric.barrier()
        summary = self._summary(seconds)
        if self.validation is not None:
            summary |= self.validation.choose(self.method)
        return summary

    def _validate(self, iteration: int) -> None:
        """Log and show what a validation after step `iteration` finds; a logger also shows sample masks."""
        metrics = self.validation(self.method, iteration + 1)
        if self.log:
            entry = {"iteration": iteration, "validation": metrics}
            self.log.add(entry | {"seconds": round(self.state.seconds(), 4)})
            self.log.flush()
            told = ", ".join(f"{name} {value:.2f}" for name, value in metrics.items())
            text = f"{self.id}: after {iteration + 1} iterations: {told}"
            print(text, file=sys.stderr, flush=True)
            if self.log.logger:
                self.log.logger.pictures(self.method, self.validation.root, self.device, iteration + 1)
        self.state.module.train()

    def _step(self, iteration: int, micros: list[Batch]) -> Step:
        """Forward, backward and update; nothing here waits for the device, but for float16's scale.

        An iteration has one step of the optimiser: one that float16's scaler skips is done again.
        """
        if len(micros) != self.micro:
            raise ValueError(f"the stream gave {len(micros)} micro-batches instead of {self.micro}")
        lr = learning_rate(self.schedule, iteration)
        set_learning_rate(self.state.optimizer, lr)
        self.method.watched = {} if iteration % WATCHED == 0 else None
        done = False
        while not done:
            names, local = self.gradients.compute(iteration, micros)
            norm = self.gradients.clip()
            done = update(self.state.optimizer, norm, self.state.scaler)
            self.state.optimizer.zero_grad(set_to_none=True)
        self.method.on_step_end(iteration)
        flags = torch.tensor([self.stop.signal > 0, self._due(iteration + 1)], dtype=local.dtype)
        shared = torch.cat([local.mean(0), norm.reshape(1).to(local), sent(flags, local.device)])
        if self.world > 1:
            shared = self.fabric.all_reduce(shared, reduce_op="mean")
        ids, watched = [batch.ids for batch in micros], self.method.watched or {}
        return Step(iteration, lr, names, local, Arriving(shared), ids, watched)

    def _settle(self, step: Step | None) -> tuple[bool, bool]:
        """Read a step's losses, check and log them; returns the requests to stop and to save."""
        if step is None:
            return False, False
        *values, norm, stop, save = step.shared.read().tolist()
        total = sum(values)
        if not isfinite(total):
            self._refuse(step, "loss")
        if not isfinite(norm):
            self._refuse(step, "gradient")
        if self.log:
            losses = dict(zip(step.names, values, strict=True))
            entry = {"iteration": step.iteration, "lr": step.lr, "total": total, "losses": losses}
            if step.watched:
                entry["watched"] = {name: value.item() for name, value in step.watched.items()}
            self.log.add(entry | {"seconds": round(self.state.seconds(), 4)})
        self.progress.update(step.iteration + 1, total)
        return stop > 0, save > 0

    def _refuse(self, step: Step, what: str) -> None:
        """Raise the same WsisError on every rank, naming the losses and the images of the shards at fault.

        A gradient that is not finite, of finite losses, names the images of the whole batch.
        """
        finite = step.local.isfinite().tolist()
        bad = [
            f"{name} (images {', '.join(map(str, ids))})"
            for row, ids in zip(finite, step.ids, strict=True)
            for name, good in zip(step.names, row, strict=True)
            if not good
        ]
        if what == "gradient":
            bad = [f"images {', '.join(map(str, ids))}" for ids in step.ids]
        bad = [item for part in self.state.gather(bad) for item in part]
        if self.log:
            self.log.close()
        raise WsisError(
            f"{self.id}: {what} not finite at iteration {step.iteration} (lr {step.lr:.3g}):"
            f" {'; '.join(bad) or 'the sum of the losses'}"
        )

    def _due(self, done: int) -> bool:
        """Whether a checkpoint is wanted after `done` iterations; the first rank decides for all."""
        every = self.options.checkpoint_iterations
        late = time.monotonic() - self.saved >= self.options.checkpoint_seconds
        return self.state.first and (late or bool(every and done % every == 0))

    def _summary(self, seconds: float) -> dict[str, Any]:
        cuda = self.device.type == "cuda"
        total = self.ended or self.schedule.end
        done = total - ((self.recipe.init.iteration or 0) if self.recipe.init else 0)
        return {
            "seconds": seconds,
            "iterations": done,
            "resumed": self.state.resumed,
            "losses": mean_losses(self.folder / "log.jsonl") if total else {},
            "images_per_second": done * self.schedule.batch / seconds if done and seconds > 0 else 0.0,
            "devices": self.world,
            "device_name": device_name(self.device),
            "precision": precision_name(self.fabric),
            "peak_memory": torch.cuda.max_memory_allocated(self.device) if cuda else None,
            "deviations": self._deviations(),
            **({"ended": self.ended} if self.ended else {}),
        }

    def _deviations(self) -> list[str]:
        early = f"ended early, after {self.ended} of {self.schedule.end} iterations"
        return [*self.state.notes, *self.split, *([early] if self.ended else [])]


def reads_late(device: torch.device) -> bool:
    """Whether a step's losses are read while `device` does the next step, so that it never waits for us."""
    return device.type == "cuda"
