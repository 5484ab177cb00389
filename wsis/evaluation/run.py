"""Evaluate a run's folder: predictions.json -> metrics.json."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsis.card import write_card
from wsis.checksums import verify
from wsis.errors import WsisError
from wsis.evaluation.class_agnostic import evaluate_class_agnostic
from wsis.evaluation.coco import evaluate
from wsis.evaluation.voc import evaluate_voc
from wsis.files import digest
from wsis.records import read_record, write_record


def evaluate_run(
    folder: Path,
    annotations: Path,
    protocols: Sequence[str] = ("coco",),
    groups: Mapping[str, Sequence[int]] | None = None,
    image_ids: Collection[int] | None = None,
    unseen: Sequence[int] = (),
) -> dict[str, Any]:
    """Evaluate `folder`/predictions.json, write the card and `folder`/metrics.json, return its content.

    protocols: 'coco', 'voc' or 'class-agnostic', as tables declare them. The content is the first's; those of
              the others are under `also`, by protocol
    groups:   class groups by name, for 'coco' results' `groups`; other protocols have none
    unseen:   category ids without masks in training, 'coco' only
    The recipe's id is taken from `folder`/recipe.json. metrics.json is written atomically, last; its
    `predictions` is the digest of what was evaluated.
    """
    folder = Path(folder)
    recipe_id = read_record(folder / "recipe.json")["id"]
    predictions = folder / "predictions.json"
    verify(predictions)
    metrics, *others = [
        evaluated(predictions, annotations, protocol, recipe_id, image_ids, groups, unseen)
        for protocol in protocols
    ]
    metrics["predictions"] = digest(predictions)
    if others:
        metrics["also"] = {other["protocol"]: other for other in others}
    write_card(folder, metrics=metrics)
    write_record(folder / "metrics.json", metrics)
    return metrics


def evaluated(
    predictions: Path,
    annotations: Path,
    protocol: str,
    recipe_id: str | None = None,
    image_ids: Collection[int] | None = None,
    groups: Mapping[str, Sequence[int]] | None = None,
    unseen: Sequence[int] = (),
) -> dict[str, Any]:
    """The metrics of a predictions file under one protocol; arguments as those of `evaluate_run`."""
    if protocol == "coco":
        return evaluate(predictions, annotations, recipe_id, unseen, image_ids, groups)
    if unseen:
        raise WsisError(f"protocol '{protocol}' has no metrics over unseen classes")
    if protocol == "voc":
        return evaluate_voc(predictions, annotations, recipe_id, image_ids)
    if protocol == "class-agnostic":
        return evaluate_class_agnostic(predictions, annotations, recipe_id, image_ids)
    raise WsisError(f"no protocol '{protocol}' (there are: coco, voc, class-agnostic)")
