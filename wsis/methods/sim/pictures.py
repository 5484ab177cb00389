"""What a trained SIM makes of a few images, as sheets of pictures: its Figures 4 and 6 to 8 for a run.

Shapes: G objects of an image, M their positives, H x W mask grid, s its stride, h x w pixels of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsis.data.annotations import Picture
from wsis.data.loading import collate, eval_view
from wsis.data.structures import Batch
from wsis.declare.recipe import Recipe
from wsis.methods.sim.paste_pictures import image_of, labels_of, paste_rows, paste_sheet
from wsis.pictures import canvas
from wsis.pictures.choice import choose
from wsis.pictures.grid import Bar, Box, Dot, Key, Row, Sheet, Tile, wrapped
from wsis.pictures.subject import Subject

OUTSIDE = {
    "background": "outside the box everything is background",
    "ignored": "outside the box nothing is supervised",
    "literal": "outside the box the same thresholds hold",
}


@dataclass
class Scene:
    """An evaluation image.

    batch: of it alone, without masks; truth: G x h x w bool; shown: the objects whose maps are shown
    """

    batch: Batch
    truth: np.ndarray
    shown: list[int]


@dataclass
class Maps:
    """What the method makes of one object. others: N x 4, the boxes of the image's other objects.

    semantic, instance, corrected: h x w float in [0, 1] (M_S, M_I, M_prob of Eqs. 1, 6 and 7);
    pseudo: h x w int8, 1 foreground, 0 background, -1 ambiguous (W = 0); truth: h x w bool.
    """

    group: str
    name: str
    image: np.ndarray
    box: np.ndarray
    others: np.ndarray
    semantic: np.ndarray
    instance: np.ndarray
    corrected: np.ndarray
    pseudo: np.ndarray
    truth: np.ndarray


@torch.no_grad()
def draw(subject: Subject) -> list[Sheet]:
    """Maps of some objects, weights of their positives, and training images with pasted objects."""
    (method,) = subject.networks.values()
    objects, dots = [], []
    for number, (picture, shown) in enumerate(choose(subject.pictures), 1):
        scene = scene_of(picture, subject.recipe, shown)
        view = method.view(scene.batch)
        objects += object_maps(method, scene, view, f"image {number}", subject.root.category_names)
        dots.append(weight_tile(image_of(scene.batch), view, view.weights(method.spec.mu).numpy()))
    pasted = paste_rows(method, subject)
    dots = [tile for tile in dots if any(isinstance(mark, Dot) for mark in tile.marks)]
    return [
        maps_sheet(method.spec, objects),
        weights_sheet(method.spec, dots),
        paste_sheet(method.spec, pasted),
    ]


def scene_of(picture: Picture, recipe: Recipe, shown: list[int]) -> Scene:
    """The picture at the recipe's evaluation size; the method does not get its masks."""
    view, placed = eval_view(recipe.data, picture)
    batch = collate([replace(view, masks=None, has_mask=None)], [placed], [picture.id])
    return Scene(batch, view.masks, shown)


def object_maps(method: nn.Module, scene: Scene, view: Any, group: str, names: Sequence[str]) -> list[Maps]:
    """The maps of the scene's shown objects, every cell of the grid as s x s pixels."""
    maps, labels = labels_of(method, view)
    pseudo = torch.where(labels.weight, labels.target.to(torch.int8), -1)
    (size,) = scene.batch.sizes
    layers = [
        _pixels(cells, method.layout.out_stride, size)
        for cells in (maps.semantic, maps.instance, maps.corrected, pseudo)
    ]
    image, boxes = image_of(scene.batch), view.boxes.numpy()
    return [
        Maps(
            group,
            names[int(view.labels[i])],
            image,
            boxes[i],
            np.delete(boxes, i, 0),
            *(layer[i] for layer in layers),
            scene.truth[i],
        )
        for i in scene.shown
    ]


def maps_sheet(spec: Any, objects: Sequence[Maps]) -> Sheet:
    """Figure 6: image, M_S, M_I, M_prob, pseudo mask and ground truth of each object, a row an object.

    M_S has its own colour scale, from its smallest to its largest value on the sheet: at tau = 1 it can't
    leave [0.27, 0.73].
    """
    low = min((o.semantic.min() for o in objects), default=0)
    high = max((o.semantic.max() for o in objects), default=1)

    def row(o: Maps) -> Row:
        heats = [canvas.heat(o.semantic, low, high), canvas.heat(o.instance), canvas.heat(o.corrected)]
        labels = [canvas.three_labels(o.pseudo), canvas.three_labels(o.truth)]
        window = canvas.window_around(o.image.shape, o.box)
        boxes = [*(Box(other, canvas.ORIGINAL, 1) for other in o.others), Box(o.box, canvas.PINK)]
        tiles = [
            Tile(o.image, window, boxes),
            *(Tile(pixels, window, [Box(o.box, canvas.WHITE)]) for pixels in heats),
            *(Tile(pixels, window, [Box(o.box, canvas.INK)]) for pixels in labels),
        ]
        return Row(tiles, o.name, o.group)

    adaptive = "an object's own threshold up to " if spec.adaptive else ""
    return Sheet(
        name="maps",
        title="Semantic, instance and pseudo masks",
        rows=[row(o) for o in objects],
        headings=[
            ("image", "boxes"),
            ("semantic", f"M_S, {low:.2f} to {high:.2f}"),
            ("instance", "M_I, 0 to 1"),
            ("corrected", "M_prob, 0 to 1"),
            ("pseudo mask", "two thresholds"),
            ("ground truth", "never seen"),
        ],
        legend=[
            Bar("low", "high"),
            Key("foreground", [canvas.FOREGROUND]),
            Key("background", [canvas.BACKGROUND]),
            Key("ambiguous: not supervised", [canvas.AMBIGUOUS]),
            Key("the row's object", [canvas.PINK]),
            Key("others", [canvas.ORIGINAL]),
        ],
        caption=(
            f"As in Figure 6: {len(objects)} objects of {len({o.group for o in objects})} evaluation images,"
            " those with overlapping objects of one class first. Semantic map (Eq. 1), instance map (Eq. 6),"
            f" corrected map (Eq. 7, alpha {spec.alpha:g}) and the pseudo mask: foreground from"
            f" {adaptive}{spec.tau_high:g}, background up to {spec.tau_low:g}, ambiguous in between;"
            f" {OUTSIDE[spec.outside]}. The ground truth is shown for comparison only."
        ),
        alt=f"Semantic, instance and corrected maps, pseudo mask and ground truth of {len(objects)} objects",
        absent="no evaluation image has an object that is large enough to be seen",
    )


def weight_tile(image: np.ndarray, view: Any, weights: np.ndarray) -> Tile:
    """All positives of an image's objects with their weights of Eq. 6, over the largest of the same object.

    A dot's rim has the colour of its object's box. view: `method.view` of the image; weights: M float.
    """
    owners = view.objects.numpy()
    largest = np.zeros(len(view.boxes))
    np.maximum.at(largest, owners, weights)
    shares = weights / np.maximum(largest[owners], 1e-12)
    boxes = [Box(box, canvas.object_colour(i)) for i, box in enumerate(view.boxes.numpy())]
    dots = [
        Dot(x, y, 2.5 + 8.5 * share**0.5, canvas.shade(share), canvas.object_colour(owner))
        for (x, y), owner, share in zip(view.points.tolist(), owners, shares, strict=True)
    ]
    return Tile(canvas.faded(image), None, boxes + sorted(dots, key=lambda dot: -dot.radius))


def weights_sheet(spec: Any, tiles: Sequence[Tile]) -> Sheet:
    """Figure 7: a dot at each positive location, its colour and area the weight over the object's largest."""
    count = sum(isinstance(mark, Dot) for tile in tiles for mark in tile.marks)
    return Sheet(
        name="weights",
        title="Weights of positive samples",
        rows=wrapped(tiles, 3),
        headings=[],
        legend=[
            Bar("weight 0", "the object's largest"),
            Key("an object: its box, and the rim of its dots", canvas.OBJECTS[:4]),
        ],
        caption=(
            f"As in Figure 7: the {count} positive locations of every object in these evaluation images. Area"
            f" and colour of a dot are its weight of Eq. 6 (mu {spec.mu:g}) over the largest of the same"
            " object; rim and box show to which object it belongs."
        ),
        alt=f"Dots of different size at {count} positive locations of {len(tiles)} images",
        absent="no object of the evaluation images that are shown has a positive location",
    )


def _pixels(cells: Tensor, stride: int, size: tuple[int, int]) -> np.ndarray:
    """G x H x W -> G x h x w."""
    large = cells.repeat_interleave(stride, 1).repeat_interleave(stride, 2)
    return large[:, : size[0], : size[1]].numpy()
