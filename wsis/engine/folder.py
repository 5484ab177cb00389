"""What a run's folder holds when it is finished, and what of it survives a workflow's restart."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from wsis.card import write_card
from wsis.checksums import remove, seal_left
from wsis.declare.recipe import Recipe
from wsis.errors import WsisError
from wsis.finished import RECORD, foreign, lacking, left
from wsis.records import read_record, write_record

COPY = Path("checkpoints") / "finished.json"
FEATURES = "features"  # of a frozen backbone, in checkpoints/


def finished(folder: Path, recipe: Recipe, predicts: bool = True) -> bool:
    """Whether `folder` holds all files of a finished run of `recipe`; predictions only if it `predicts`.

    Raises WsisError where its weights were imported and it lacks predictions: no training may replace them.
    """
    lacks = lacking(folder, recipe, predicts)
    if lacks and predicts and lacking(folder, recipe, predicts=False) is None:
        record = read_record(folder / RECORD)
        if "source" in record:
            text = "import it again with --data-root, or remove the folder to train it"
            raise WsisError(f"{folder}: weights of an {record['source']} without predictions: {text}")
    return lacks is None


def kept(folder: Path, recipe: Recipe, parents: Sequence[Path] = (), predicts: bool = True) -> bool:
    """Whether a finished run stays as it is: `finished`, or it lacks only its train.json, which has a copy.

    A run whose parent now holds other weights than it started from does not stay: its train.json is removed.
    One that stays becomes newer than its parents: they may have been written again as they were.
    """
    record, copy = folder / RECORD, folder / COPY
    if not finished(folder, recipe, predicts):
        if left(folder, recipe, predicts):
            return False
        try:
            content = read_record(copy, recipe.id)
        except WsisError:
            return False
        if foreign(folder, content):
            return False
        write_card(folder, content)
        write_record(record, content)
    seal_left([record, copy])
    content = read_record(record)
    began = {entry["id"]: entry["weights"] for key in ("parent", "proxy") if (entry := content.get(key))}
    for parent in parents:
        now, then = _trained_weights(parent), began.get(parent.name)
        if None not in (now, then) and now != then:
            text = f"{recipe.id}: {parent.name}, which it starts from, was trained again"
            print(text, file=sys.stderr, flush=True)
            remove(record)
            return False
        times = [path.stat().st_mtime_ns for path in (record, parent / RECORD) if path.exists()]
        if times[-1] > times[0]:
            os.utime(record)
    return True


def _trained_weights(folder: Path) -> str | None:
    """Digest of a finished run's file of weights, as its train.json (or the copy of it) has it."""
    for name in (Path(RECORD), COPY):
        with suppress(WsisError):
            return read_record(folder / name).get("weights")
    return None
