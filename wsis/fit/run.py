"""Fit: facts, choices, a plan of one run, and its training, evaluation and card."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from wsis.alone import FIT, alone_plan, fit_of, fitted
from wsis.checksums import remove
from wsis.errors import WsisError
from wsis.fit.choose import Choice, choose, warning
from wsis.fit.facts import DataFacts, DeviceFacts
from wsis.plan import Plan
from wsis.records import read_record, sound


def plan_fit(
    method: str, data: DataFacts, device: DeviceFacts, given: Mapping[str, Any], seed: int
) -> tuple[Plan, list[Choice]]:
    """The plan of a training, and what was chosen for it. given: as `wsis.fit.choose.choose`.

    Raises WsisError where the method can't be fitted to these data.
    """
    fit = fit_of(method)
    settings = {key: value for key, value in given.items() if "." in key}
    supervision = settings.get("data.supervision", fit.supervision)
    if supervision == "masks" and not data.masks:
        others = [name for name in fitted() if fit_of(name).supervision == "boxes"]
        raise WsisError(
            f"{data.root}: no object of '{data.train}' has a mask, which {method} learns; from boxes learn:"
            f" {', '.join(others)}"
        )
    choices = choose(data, device, supervision, given)
    return alone_plan(method, {choice.key: choice.value for choice in choices}, settings, seed), choices


def tell(plan: Plan, choices: Sequence[Choice], data: DataFacts) -> None:
    """Print every setting with the reason why, the user's among them."""
    run = list(plan.runs)[-1]
    tree = plan.runs[run].recipe.model_dump(mode="json")
    grid = Grid("setting", "value", "why", title=f"{run}: {data.root}", title_justify="left")
    for choice in choices:
        section, _, key = choice.key.rpartition(".")
        part = tree
        for name in section.split("."):
            part = part and part[name]
        if part is None:
            continue
        why = "you said so" if choice.key in plan.overrides else choice.why
        grid.add_row(choice.key, _brief(part[key]), why)
    told = {choice.key for choice in choices}
    for key, value in plan.overrides.items():
        if key not in told:
            grid.add_row(key, _brief(value), "you said so")
    Console(width=max(Console().width, 100)).print(grid)
    if text := warning(data, tree["data"]["classes"]):
        print(f"warning: {text}")
    if data.val is None:
        print("There is no val split: nothing is validated, AP and mIoU can't be measured.")
    elif not data.val_masks:
        print(f"'{data.val}' has no masks: it is predicted, but AP and mIoU can't be measured.")


def _brief(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def fit(plan: Plan, data: DataFacts, results: Path, options: Any) -> tuple[Path, Path | None]:
    """Judge the root, train, predict and evaluate; returns the folder of the run and the file of its metrics.

    options: of `wsis.engine.job.RunOptions`. A training that was ended early goes on. Raises WsisError
    where the root has problems.
    """
    from wsis.engine.run import train_runs
    from wsis.judge import judge
    from wsis.trained.evaluate import evaluate_folder

    ids, roots = list(plan.runs), {data.dataset: str(data.root)}
    folder = results / FIT / "runs" / ids[-1]
    _reopen(folder)
    judge(plan, ids, results, roots, predict_only=not data.val_masks)
    train_runs(plan, ids, results, roots, options)
    return folder, evaluate_folder(folder, data.root, options.accelerator) if data.val_masks else None


def _reopen(folder: Path) -> None:
    """Let a training that was ended early go on."""
    path = folder / "train.json"
    if sound(path) and "ended" in read_record(path):
        print(f"{folder}: goes on where it was ended", file=sys.stderr)
        remove(path)


def copy_model(folder: Path, out: Path) -> None:
    """The run's folder without what only a training needs, at `out`."""
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns("checkpoints"), dirs_exist_ok=True)
