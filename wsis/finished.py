"""Whether a run's folder holds a finished run: all its files, and none that has changed since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsis.checksums import fault, recorded
from wsis.declare.recipe import Recipe
from wsis.declare.stored import difference, weights_file
from wsis.errors import WsisError
from wsis.files import kept
from wsis.records import read_record

PREDICTIONS, RECORD, METRICS = "predictions.json", "train.json", "metrics.json"
LEFT_OUT = "left-out.json"  # names the files that a run of another machine came without


def lacking(folder: Path, recipe: Recipe, predicts: bool = True) -> str | None:
    """Why `folder` is no finished run of `recipe`, in a line; None where it is one.

    predicts: whether it needs predictions. The content of large files isn't read unless their size or time
    changed.
    """
    try:
        record = read_record(folder / RECORD, recipe.id)
    except WsisError as error:
        return str(error)
    return left(folder, recipe, predicts) or foreign(folder, record)


def left(folder: Path, recipe: Recipe, predicts: bool = True, whole: bool = False) -> str | None:
    """The same of all that a finished run holds beside its train.json. whole: large files are read."""
    files = [weights_file(folder), *([folder / PREDICTIONS] if predicts else [])]
    without = set(kept(folder / LEFT_OUT).get("files", []))
    for path in (path for path in files if path.exists() or path.name not in without):
        if text := fault(path, whole):
            return f"{path}: {text}"
    return difference(folder, recipe)


def foreign(folder: Path, record: dict[str, Any]) -> str | None:
    """Which file of a finished run is whole, and not the one that its train.json tells of: another run's."""
    for path, key in ((weights_file(folder), "weights"), (folder / PREDICTIONS, "predictions")):
        if None not in (now := recorded(path), record.get(key)) and now != record[key]:
            return f"{path}: is not the file that {RECORD} tells of, but another run's"
    return None


def proxies_there(folder: Path, whole: bool = False) -> list[Path]:
    """The files of a run's proxy masks; empty where there are none, or one of them has changed."""
    files = sorted((folder / "proxies").glob("*-of-*.jsonl.gz"))
    return [] if any(fault(path, whole) for path in files) else files


def metrics_of(folder: Path) -> dict[str, Any]:
    """The metrics of the run in `folder`.

    Raises WsisError where there are none, where they are damaged or out of range, and where they are another
    run's or of other predictions than there are now.
    """
    path = folder / METRICS
    content = read_record(path, folder.name)
    now, then = recorded(folder / PREDICTIONS), content.get("predictions")
    if None not in (now, then) and now != then:
        raise WsisError(f"{path}: of other predictions than {PREDICTIONS} holds now; evaluate the run again")
    return content
