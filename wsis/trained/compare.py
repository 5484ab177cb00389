"""Two runs, or two rows with the same seeds, on the same images: the difference and its interval.

The interval is a paired bootstrap over images: both runs are evaluated on the same images, drawn with
replacement. It says what other images might have shown of these networks, and nothing of another training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from wsis.data.ground_truth import eval_annotations, eval_image_ids
from wsis.data.roots import Root
from wsis.declare.recipe import Recipe
from wsis.declare.stored import stored_recipe
from wsis.errors import WsisError
from wsis.evaluation.resample import Averages, Overlaps, averages, overlaps
from wsis.methods import info_of
from wsis.trained.evaluate import GIVEN_FILE, own_root, predictions_of

TAILS = (2.5, 97.5)  # per cent: the interval between holds 95
SEED = 20  # of the draws, so that a comparison repeats


@dataclass(frozen=True)
class Side:
    """One run of a pair."""

    folder: Path

    @cached_property
    def recipe(self) -> Recipe:
        return stored_recipe(self.folder)

    @cached_property
    def root(self) -> Root:
        return own_root(self.folder, self.recipe)

    @cached_property
    def place(self) -> Path:
        """The folder of its predictions of these images."""
        return predictions_of(self.folder, self.root)

    @cached_property
    def images(self) -> list[int]:
        return eval_image_ids(self.recipe, self.root)

    @property
    def truth(self) -> Mapping[str, Any]:
        """What two runs must have in common to be compared."""
        return {
            "split": self.recipe.data.eval,
            "annotations": self.root.eval_fingerprint,
            "classes": self.root.classes,
            "images": tuple(self.images),
        }

    @property
    def fills_boxes(self) -> bool:
        return info_of(self.recipe.method).fills_boxes

    def averages(self, annotations: Path) -> Averages | None:
        """None of a method that finds no objects."""
        path = self.place / "predictions.json"
        return None if self.fills_boxes else averages(path, annotations, self.images)

    def overlaps(self, annotations: Path) -> Overlaps | None:
        """Of masks of given boxes; None where they have not been made."""
        path = self.place / ("predictions.json" if self.fills_boxes else GIVEN_FILE)
        return overlaps(path, annotations, self.images) if path.exists() else None


def compare(first: Sequence[Path], second: Sequence[Path], resamples: int = 1000) -> dict[str, Any]:
    """Compare two runs, or the runs of two rows seed by seed.

    first, second: folders of runs; several have different seeds, and both sides the same ones
    Returns "seeds", "first" and "second" (ids), "images" (of a run), "resamples", and "metrics": name ->
    first, second, difference (second - first), low, high (its 95 % interval), by_seed (differences). In per
    cent; of several seeds they are means. Metrics are AP, AP50, AP75 (COCO's protocol) and mIoU, as far as
    both runs have them.
    Raises WsisError where two runs have other ground truth.
    """
    pairs = paired([Side(folder) for folder in first], [Side(folder) for folder in second])
    rng, draws, parts = np.random.default_rng(SEED), {}, []
    for one, other in pairs:
        same_truth(one, other)
        key, count = tuple(one.truth.values()), len(one.images)
        if key not in draws:  # seeds that share their images share what is drawn
            once = np.ones((1, count), np.int64)
            drawn = rng.multinomial(count, np.full(count, 1 / count), resamples)
            draws[key] = np.concatenate([once, drawn])
        parts.append(_values(one, other, draws[key]))
    names = [name for name in parts[0] if all(name in part for part in parts)]
    if not names:
        raise WsisError(
            f"{pairs[0][0].folder} and {pairs[0][1].folder}: they have no metric in common; for mIoU evaluate"
            " what finds objects with --given-boxes"
        )
    return {
        "seeds": [one.recipe.seed for one, _ in pairs],
        "first": [one.recipe.id for one, _ in pairs],
        "second": [other.recipe.id for _, other in pairs],
        "images": len(pairs[0][0].images),
        "resamples": resamples,
        "metrics": {name: _summary(np.stack([part[name] for part in parts])) for name in names},
    }


def paired(first: Sequence[Side], second: Sequence[Side]) -> list[tuple[Side, Side]]:
    """Runs of the same seed; two single ones whatever their seeds."""
    if len(first) == len(second) == 1:
        return [(first[0], second[0])]
    sides = [{side.recipe.seed: side for side in sides} for sides in (first, second)]
    for seeds, runs in zip(sides, (first, second), strict=True):
        if len(seeds) < len(runs):
            ids = ", ".join(side.recipe.id for side in runs)
            raise WsisError(f"several runs of one seed ({ids}): name a row or a run, not a table")
    if sides[0].keys() != sides[1].keys():
        text = " and ".join(", ".join(map(str, sorted(seeds))) for seeds in sides)
        raise WsisError(f"runs of seeds {text}: pairs need the same seeds; name runs of one with @SEED")
    return [(sides[0][seed], sides[1][seed]) for seed in sorted(sides[0])]


def same_truth(one: Side, other: Side) -> None:
    """Raise WsisError where two runs are not evaluated on the same images and annotations."""
    for what, ours in one.truth.items():
        if ours != (theirs := other.truth[what]):
            said = (f"{len(ours)}", f"{len(theirs)}") if what == "images" else (ours, theirs)
            raise WsisError(
                f"{one.folder} and {other.folder} can't be compared: their evaluation {what} differ"
                f" ({said[0]} of {one.root.path}, {said[1]} of {other.root.path})"
            )


def _values(one: Side, other: Side, draws: np.ndarray) -> dict[str, np.ndarray]:
    """Metric -> B x 2, of both runs; the first draw has every image once."""
    annotations, values = eval_annotations(one.root, one.folder), {}
    for kind in ("averages", "overlaps"):
        found = [getattr(side, kind)(annotations) for side in (one, other)]
        if all(each is not None for each in found):
            of_both = np.stack([each.of(draws) for each in found], -1)  # B x metrics x 2
            values |= {name: of_both[:, i] for i, name in enumerate(found[0].names)}
    return values


def _summary(values: np.ndarray) -> dict[str, Any]:
    """values: S x B x 2, of S pairs."""
    differences = values[..., 1] - values[..., 0]
    means, whole = np.nanmean(differences[:, 1:], 0), values[:, 0].mean(0)
    low, high = np.nanpercentile(means, TAILS)
    return {
        "first": float(whole[0]),
        "second": float(whole[1]),
        "difference": float(differences[:, 0].mean()),
        "low": float(low),
        "high": float(high),
        "by_seed": differences[:, 0].tolist(),
    }


def lines(found: Mapping[str, Any]) -> list[str]:
    """What the numbers are, in words."""
    seeds = found["seeds"]
    several = [f"means over seeds {', '.join(map(str, seeds))}"] if len(seeds) > 1 else []
    return [
        f"in per cent; the interval holds 95 % of {found['resamples']} resamples of {found['images']} images",
        *several,
        "the interval is that of the images alone: another training may differ more",
    ]
