"""What a run's folder holds when it is finished, and what of it survives a workflow's restart."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from wsis.declare.recipe import Recipe
from wsis.declare.stored import difference, weights_file
from wsis.errors import WsisError
from wsis.files import read_json, write_json

PREDICTIONS, RECORD = "predictions.json", "train.json"
COPY = Path("checkpoints") / "finished.json"


def finished(folder: Path, recipe: Recipe, predicts: bool = True) -> bool:
    """Whether `folder` holds all files of a finished run of `recipe`; predictions only if it `predicts`.

    Raises WsisError where its weights were imported and it lacks predictions: no training may replace them.
    """
    if not (folder / RECORD).exists():
        return False
    record, left = read_json(folder / RECORD), _left(folder, recipe, predicts)
    if not left and "source" in record and _left(folder, recipe, predicts=False):
        text = "import it again with --data-root, or remove the folder to train it"
        raise WsisError(f"{folder}: weights of an {record['source']} without predictions: {text}")
    return left and record.get("recipe") == recipe.id


def _left(folder: Path, recipe: Recipe, predicts: bool) -> bool:
    there = weights_file(folder).exists() and (not predicts or (folder / PREDICTIONS).exists())
    return there and difference(folder, recipe) is None


def kept(folder: Path, recipe: Recipe, parents: Sequence[Path] = (), predicts: bool = True) -> bool:
    """Whether a finished run stays as it is: `finished`, or it lacks only its train.json, which has a copy.

    A run whose parent now holds other weights than it started from does not stay: its train.json is removed.
    One that stays becomes newer than its parents: they may have been written again as they were.
    """
    record, copy = folder / RECORD, folder / COPY
    if not finished(folder, recipe, predicts):
        if not (copy.exists() and _left(folder, recipe, predicts) and read_json(copy)["recipe"] == recipe.id):
            return False
        write_json(record, read_json(copy))
    content = read_json(record)
    began = {entry["id"]: entry["weights"] for key in ("parent", "proxy") if (entry := content.get(key))}
    for parent in parents:
        now, then = _trained_weights(parent), began.get(parent.name)
        if None not in (now, then) and now != then:
            text = f"{recipe.id}: {parent.name}, which it starts from, was trained again"
            print(text, file=sys.stderr, flush=True)
            record.unlink()
            return False
        times = [path.stat().st_mtime_ns for path in (record, parent / RECORD) if path.exists()]
        if times[-1] > times[0]:
            os.utime(record)
    return True


def _trained_weights(folder: Path) -> str | None:
    """Digest of a finished run's file of weights, as its train.json (or the copy of it) has it."""
    for name in (Path("train.json"), COPY):
        if (folder / name).exists():
            return read_json(folder / name).get("weights")
    return None
