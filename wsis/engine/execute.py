"""One run on every rank: train, predict, make what others learn from, and write the run's folder.

A run's folder holds recipe.json, model.safetensors, log.jsonl, predictions.json, environment.json,
model.json, README.md and train.json. The last four are written at the end: a folder with train.json is
finished. Its checkpoints/ then keeps a copy of train.json, and what predictions could start from again.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from wsis.card import ABOUT, CARD, about_model, write_card
from wsis.checksums import remove
from wsis.data.ahead import deaths_told
from wsis.data.loading import Shard
from wsis.data.roots import Root, open_root
from wsis.data.structures import Batch
from wsis.declare.recipe import Recipe
from wsis.declare.stored import difference, weights_file
from wsis.engine.feed import cores, readers
from wsis.engine.finish import finish, normalisation
from wsis.engine.folder import COPY, FEATURES, finished
from wsis.engine.job import Job
from wsis.engine.launch import make_fabric, set_threads
from wsis.engine.loggers import Logger
from wsis.engine.memory import OutOfMemory
from wsis.engine.predict import predict
from wsis.engine.proxies import make_proxies
from wsis.engine.seeding import seed_process
from wsis.engine.step import batches
from wsis.engine.train import train
from wsis.engine.validation import Validation
from wsis.errors import WsisError
from wsis.files import digest
from wsis.methods import build_method, method_class
from wsis.methods.base import Method
from wsis.methods.weights import load_model, trained_method
from wsis.provenance import code_hash
from wsis.proxy.folder import load_proxies
from wsis.records import read_record, sound, write_record
from wsis.results.writer import fellow_writer


def execute_fellow(job: Job) -> None:
    """`execute` in one of several processes."""
    with fellow_writer(job.folder, int(os.environ["LOCAL_RANK"])):
        execute(job)


def execute(job: Job) -> None:
    """Train and predict one run; called on every rank, in a process of its own when there are several."""
    set_threads(job.options.threads)
    recipe, folder, run = job.recipe, job.folder, job.recipe.id
    fabric = make_fabric(recipe.schedule, job.accelerator, job.devices, method_class(recipe).idle)
    first = fabric.global_rank == 0
    proxies, taught = load_proxies(job.origin, recipe.proxy, recipe.seed) if job.origin else (None, None)
    root = _opened(recipe, job.root, job.folder.parents[1] / "data" / "annotations", proxies)
    if finished(folder, recipe, job.predicts):  # its model.json is damaged, or another run needs its masks
        method, _ = trained_method(folder, recipe, root.num_classes)
        if first and not sound(folder / ABOUT, run):
            _describe(job, root, method)
            write_card(folder)
        if job.proxied:
            make_proxies(method, root, folder, fabric, job.options.train.progress)
        return
    if first:
        _forget_other_settings(job)
        tree = recipe.model_dump(mode="json")
        parent = recipe.init.parent if recipe.init else None
        about = {"id": run, "scale": job.scale, "recipe": tree, "parent": parent, "asked": job.asked}
        write_record(folder / "recipe.json", about)
        repeated = ("train.json", "environment.json", "given_boxes.json", ABOUT, CARD, COPY)
        for name in repeated:  # what a former training left
            remove(folder / name)
        _forget_other_origins(job, taught and taught["weights"])
    fabric.barrier()
    code = code_hash(recipe.method)  # of the code that trains, whatever is edited meanwhile
    seed_process("weights", recipe.seed)
    method = build_method(recipe, root.num_classes)
    method.keep_features(folder / "checkpoints" / FEATURES)
    try:
        summary = _trained(job, method) or _train(job, method, root, fabric)
        if job.predicts:
            path = folder / "predictions.json"
            made_by = {"recipe": recipe.model_dump(mode="json"), "code": code}
            made_by["weights"] = digest(weights_file(folder))
            summary |= predict(method, root, path, fabric, job.options.train.progress, made_by)
            if "best" not in summary:  # else there are masks of every validation
                done = summary.get("ended", recipe.schedule.end)
                _show_masks(job, method, root, fabric, done)
        if job.proxied:
            make_proxies(method, root, folder, fabric, job.options.train.progress)
    except torch.OutOfMemoryError as error:
        reason = str(error).partition("\n")[0]
        raise WsisError(f"{run}: predicting: {reason}; use a device with more memory") from None
    if first:
        _describe(job, root, method)
        finish(job, summary, root, fabric.device, code, taught)


def _describe(job: Job, root: Root, method: Method) -> None:
    """Write model.json."""
    about = about_model(job.recipe, root, job.rows, job.protocols)
    write_record(job.folder / ABOUT, about | {"normalisation": normalisation(method)})


def _train(job: Job, method: Method, root: Root, fabric: Fabric) -> dict[str, Any]:
    workers = job.options.workers
    if workers is None:
        share = job.options.threads or cores() // len(job.devices)
        workers = readers(job.accelerator, share)

    def stream(shard: Shard) -> Iterator[list[Batch]]:
        return batches(method, root, job.open_salient(), replace(shard, workers=workers))

    options = job.options.train
    if job.recipe.schedule.validate_every:
        options = replace(options, validation=Validation(job.recipe, root, job.folder, fabric))
    try:
        with deaths_told():
            summary = train(job.recipe, method, stream, job.folder, fabric, job.parent, options)
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(str(error).partition("\n")[0]) from None
    if fabric.global_rank == 0 and "ended" not in summary:
        note = {"recipe": job.recipe.id, "summary": summary, "weights": digest(weights_file(job.folder))}
        write_record(job.folder / "checkpoints" / "trained.json", note)
    return summary


def _show_masks(job: Job, method: Method, root: Root, fabric: Fabric, done: int) -> None:
    """Sample masks in the run's log, after `done` iterations."""
    if fabric.global_rank == 0 and job.options.train.logger:
        logger = Logger(job.options.train.logger, job.folder)
        logger.pictures(method, root, fabric.device, done)
        logger.close()


def _trained(job: Job, method: Method) -> dict[str, Any] | None:
    """Summary of a training that an earlier process finished without predicting; its weights are loaded.

    None where there is none, or where they are damaged or others': the training is done again.
    """
    note, weights = job.folder / "checkpoints" / "trained.json", weights_file(job.folder)
    if not (note.exists() and weights.exists()):
        return None
    try:
        content, model = read_record(note, job.recipe.id), load_model(weights)
    except WsisError as error:
        print(f"{job.recipe.id}: trains again: {error}", file=sys.stderr, flush=True)
        return None
    if model["recipe"] != job.recipe.id or content.get("weights") not in (None, digest(weights)):
        print(f"{job.recipe.id}: trains again: {weights} is another run's", file=sys.stderr, flush=True)
        return None
    method.load_state_dict(model["model"])
    return content["summary"]


def _forget_other_settings(job: Job) -> None:
    """Drop checkpoints of a training with other settings: its id may be the same."""
    if text := difference(job.folder, job.recipe):
        _start_afresh(job, text)


def _forget_other_origins(job: Job, proxies: str | None) -> None:
    """Drop checkpoints of a training that started from other weights or learnt other masks than there are."""
    if job.parent is not None and not job.parent.exists():
        text = (
            f"no weights to start from; merge an archive with weights, or train {job.parent.parent.name} here"
        )
        raise WsisError(f"{job.parent}: {text}")
    parent = digest(job.parent) if job.parent is not None else None
    note, now = job.folder / "checkpoints" / "origin.json", {"parent": parent, "proxies": proxies}
    try:
        if note.exists() and read_record(note) != now:
            _start_afresh(job, "what it starts from was trained again")
    except WsisError as error:
        _start_afresh(job, str(error))
    write_record(note, now)


def _start_afresh(job: Job, reason: str) -> None:
    print(f"{job.recipe.id}: {reason}: starts afresh", file=sys.stderr, flush=True)
    shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)


_roots: dict[tuple[Path, str], Root] = {}


def _opened(recipe: Recipe, path: Path, cache: Path, proxies: Mapping[int, dict] | None = None) -> Root:
    """`open_root`, or the last opened root where path and data section are the same."""
    if proxies is not None:
        return open_root(recipe, path, proxies, cache)
    key = (path.resolve(), recipe.data.model_dump_json())
    if key not in _roots:
        _roots.clear()
        _roots[key] = open_root(recipe, path, cache=cache)
    return _roots[key]
