"""How often similar colours mean equal labels: column prop. of BoxInst's Table 1a and its Figure 4.

Needs ground-truth masks and no training. Edges and similarity are those of the pairwise loss.

Shapes: H x W grid of stride S, K undirected offsets, N objects of an image.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsis.data.loading import eval_view
from wsis.data.roots import Root, open_root
from wsis.declare.load import load_figures
from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import DataSpec
from wsis.losses.colour import colour_similarity, lab_on_grid, shifted, undirected_offsets
from wsis.losses.projection import grid_masks, grid_rectangles
from wsis.measures.measure import Measured, Subject

# E_in of an object, and its words. "any": undirected edges with at least one end in its box (the paper);
# "centre": directed edges whose centre lies in it, so that inner edges count twice (the released weights).
DEFINITIONS = {"any": "an endpoint in the box", "centre": "the centre pixel in the box"}


@dataclass
class Scene:
    """One image with its objects. image: 3 x SH x SW uint8; boxes: N x 4 xyxy; masks: N x SH x SW bool."""

    image: Tensor
    boxes: Tensor
    masks: Tensor


@dataclass
class Counts:
    """Edges of E_in by threshold: how many have S_e >= tau, and how many of those are positive."""

    similar: np.ndarray
    positive: np.ndarray


@dataclass
class Affinity:
    """Accumulates edges over images.

    An edge is positive when both its ends have the same ground-truth label for the object at hand.
    """

    thresholds: Sequence[float]
    stride: int = 4
    size: int = 3
    dilation: int = 2
    theta: float = 2.0
    counts: dict[str, Counts] = field(init=False)
    images: int = 0
    objects: int = 0

    def __post_init__(self) -> None:
        zeros = lambda: np.zeros(len(self.thresholds))  # noqa: E731
        self.counts = {name: Counts(zeros(), zeros()) for name in DEFINITIONS}

    def add(self, scene: Scene) -> None:
        """Count the edges of one image's objects."""
        self.images += 1
        self.objects += len(scene.boxes)
        if len(scene.boxes) == 0:
            return
        height, width = (side // self.stride for side in scene.image.shape[1:])
        offsets = undirected_offsets(self.size, self.dilation)
        lab = lab_on_grid(scene.image[None], self.stride, "image")
        similarity = colour_similarity(lab, offsets, self.theta)[0]  # K x H x W
        masks = grid_masks(scene.masks, self.stride)
        rectangles = grid_rectangles(scene.boxes, self.stride, height, width)
        for mask, (x0, y0, x1, y1) in zip(masks, rectangles.tolist(), strict=True):
            inside = torch.zeros_like(mask)
            inside[y0:y1, x0:x1] = True
            for k, (dy, dx) in enumerate(offsets):
                there = shifted(torch.ones_like(mask), dy, dx)
                other = shifted(inside, dy, dx) & there
                near = (inside | other) & there
                same = (mask == shifted(mask, dy, dx))[near]
                s = similarity[k][near]
                weights = {"any": None, "centre": (inside.int() + other.int())[near]}
                for name, weight in weights.items():
                    self.counts[name].similar += self._above(s, weight)
                    self.counts[name].positive += self._above(
                        s[same], None if weight is None else weight[same]
                    )

    def _above(self, similarity: Tensor, weight: Tensor | None) -> np.ndarray:
        """Weighted number of edges with S_e >= tau for each threshold."""
        edges = np.append(np.asarray(self.thresholds, dtype=np.float32), np.inf)
        values = None if weight is None else weight.numpy()
        histogram, _ = np.histogram(similarity.numpy(), edges, weights=values)
        return histogram[::-1].cumsum()[::-1].astype(float)

    def result(self) -> dict[str, Any]:
        """prop: positive share of the edges with S_e >= tau; kept: their share of all positive edges.

        Per cent; None where there is no edge to take a share of.
        """

        def share(part: np.ndarray, whole: np.ndarray) -> list[float | None]:
            return [100 * p / w if w else None for p, w in zip(part.tolist(), whole.tolist(), strict=True)]

        return {
            name: {
                "tau": list(self.thresholds),
                "prop": share(c.positive, c.similar),
                "kept": share(c.positive, np.full_like(c.positive, c.positive[0])),
            }
            for name, c in self.counts.items()
        }


def colour_affinity(scenes: Iterable[Scene], affinity: Affinity) -> dict[str, Any]:
    """What is counted over all scenes, the measurement's details. The first threshold must be 0."""
    if affinity.thresholds[0] != 0:
        raise ValueError("the first threshold must be 0: 'kept' is relative to all positive edges")
    start = time.monotonic()
    for scene in scenes:
        affinity.add(scene)
    return {
        "images": affinity.images,
        "objects": affinity.objects,
        "stride": affinity.stride,
        "size": affinity.size,
        "dilation": affinity.dilation,
        "theta": affinity.theta,
        "seconds": time.monotonic() - start,
        "definitions": affinity.result(),
    }


def measure_images(subject: Subject) -> Measured:
    """Column prop. at every row's threshold, and the curves of Figure 4, over the evaluation images.

    Photographs are measured as the paper's loss sees them, at its test size (800, at most 1333) with stride
    4. Generated images are measured at the size they have, with the stride of the tiny net's masks.
    """
    recipe = next(iter(subject.cases.values())).recipe
    drawn = subject.root.dataset == "shapes"
    seen = {"train": recipe.data.eval, "supervision": "masks", "train_images": recipe.data.eval_images}
    if not drawn:
        seen |= {"eval_short_side": DataSpec().eval_short_side, "max_side": DataSpec().max_side}
    data = recipe.data.model_copy(update=seen)
    recipe = recipe.model_copy(update={"data": data})
    root = open_root(recipe, subject.root.path)
    rows = {case: asked.recipe.settled().loss.pairwise.tau for case, asked in subject.cases.items()}
    of_figures = {tau for figure in load_figures().values() for tau in figure.thresholds}
    thresholds = sorted({0.0, *of_figures, *rows.values()})
    details = colour_affinity(_scenes(recipe, root), Affinity(thresholds, 2 if drawn else 4))
    curves = [
        {
            "label": f"{metric}, {words}",
            "metric": metric,
            "points": [[x, y] for x, y in zip(thresholds, definition[metric], strict=True) if y is not None],
        }
        for metric in ("prop", "kept")
        for words, definition in zip(DEFINITIONS.values(), details["definitions"].values(), strict=True)
    ]
    prop = dict(zip(thresholds, details["definitions"]["any"]["prop"], strict=True))
    details["short_side"] = data.eval_short_side
    return Measured({case: {"prop": prop[tau]} for case, tau in rows.items()}, details, curves)


def _scenes(recipe: Recipe, root: Root) -> Iterator[Scene]:
    """The evaluation images with their masks, as large as in inference."""
    for picture in root.train:
        view, _ = eval_view(recipe.data, picture)
        image = torch.from_numpy(view.image.transpose(2, 0, 1).copy())
        yield Scene(image, torch.from_numpy(view.boxes), torch.from_numpy(view.masks))
