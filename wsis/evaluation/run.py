"""Evaluate a run's folder: predictions.json -> metrics.json."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsis.errors import WsisError
from wsis.evaluation.class_agnostic import evaluate_class_agnostic
from wsis.evaluation.coco import evaluate
from wsis.evaluation.files import read_json, write_json
from wsis.evaluation.voc import evaluate_voc


def evaluate_run(
    folder: Path,
    annotations: Path,
    protocol: str = "coco",
    groups: Mapping[str, Sequence[int]] | None = None,
    image_ids: Collection[int] | None = None,
    unseen: Sequence[int] = (),
) -> dict[str, Any]:
    """Evaluate `folder`/predictions.json under `protocol`, write `folder`/metrics.json, return its content.

    protocol: 'coco', 'voc' or 'class-agnostic', as a table declares it
    groups:   class groups by name, for 'coco' results' `groups`; other protocols have none
    unseen:   category ids without masks in training, 'coco' only
    The recipe's id is taken from `folder`/recipe.json. metrics.json is written atomically, last.
    """
    folder = Path(folder)
    recipe_id = read_json(folder / "recipe.json")["id"]
    predictions = folder / "predictions.json"
    if protocol == "coco":
        metrics = evaluate(predictions, annotations, recipe_id, unseen, image_ids, groups)
    elif unseen:
        raise WsisError(f"protocol '{protocol}' has no metrics over unseen classes")
    elif protocol == "voc":
        metrics = evaluate_voc(predictions, annotations, recipe_id, image_ids)
    elif protocol == "class-agnostic":
        metrics = evaluate_class_agnostic(predictions, annotations, recipe_id, image_ids)
    else:
        raise WsisError(f"no protocol '{protocol}' (there are: coco, voc, class-agnostic)")
    write_json(folder / "metrics.json", metrics)
    return metrics
