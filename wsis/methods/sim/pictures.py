"""What a trained SIM makes of a few images, as sheets of pictures: its Figures 4 and 6 to 8 for a run.

Shapes: G objects of an image, M their positives, H x W mask grid, s its stride, h x w pixels of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from wsis.data.loading import annotated, collate, train_batches
from wsis.data.roots import Picture, Root
from wsis.data.structures import Batch
from wsis.data.transforms import network_size, read_image, resize
from wsis.declare.recipe import Recipe, SimSpec
from wsis.methods.sim.bank import Bank, Entry, entries, image_sizes
from wsis.methods.sim.paste import compose
from wsis.methods.sim.pseudo import Labels, label
from wsis.methods.sim.sheets import (
    MapRow,
    PasteRow,
    WeightTile,
    maps_sheet,
    paste_sheet,
    weights_sheet,
)
from wsis.pictures.canvas import Sheet, save_sheets
from wsis.pictures.choice import choose

COMPOSITES = 4
SOURCES = 12  # images in the bank from which they are pasted
TRIES = 48  # training images for either
ABSENT = {  # sheet -> why it has no content
    "maps": "no evaluation image has an object that is large enough to be seen",
    "weights": "no object of the evaluation images that are shown has a positive location",
    "pasted": f"no object of {TRIES} training images has a mask to cut it out along, or none could be pasted",
}


@dataclass
class Scene:
    """An evaluation image.

    batch: of it alone, without masks; truth: G x h x w bool; shown: the objects whose maps are shown
    """

    batch: Batch
    truth: np.ndarray
    shown: list[int]


class NotedBank(Bank):
    """A bank that remembers which entry it gave last."""

    last: Entry | None = None

    def draw(self, generator: torch.Generator) -> Entry:
        self.last = super().draw(generator)
        return self.last


def draw_pictures(
    method: torch.nn.Module,
    recipe: Recipe,
    root: Root,
    pictures: Sequence[Picture],
    folder: Path,
    whence: str,
) -> list[dict[str, Any]]:
    """Write the sheets that can be made into `folder`; returns what pictures.json says about them.

    method:   a trained SIM
    recipe:   its settled recipe
    root:     its data root, for the training images that are pasted
    pictures: evaluation pictures with masks, to choose from
    whence:   scale, seed and run, for the captions
    """
    method.eval()
    scenes = [scene_of(picture, recipe, shown) for picture, shown in choose(pictures)]
    rows, tiles = [], []
    with torch.no_grad():
        for number, scene in enumerate(scenes, 1):
            view, name = method.view(scene.batch), f"image {number}"
            rows += map_rows(method, scene, view, name, root.category_names)
            tiles.append(weight_tile(scene, view, method.spec.mu, name))
        pasted = paste_rows(method, recipe, root)
    tiles = [tile for tile in tiles if len(tile.weights)]
    spec = method.spec
    sheets = [
        Sheet(
            "maps",
            "Semantic, instance and pseudo masks",
            rows,
            maps_sheet,
            partial(_about_maps, spec),
            ABSENT["maps"],
        ),
        Sheet(
            "weights",
            "Weights of positive samples",
            tiles,
            weights_sheet,
            partial(_about_weights, spec),
            ABSENT["weights"],
        ),
        Sheet(
            "pasted",
            "Pasted training images",
            pasted,
            paste_sheet,
            partial(_about_pasted, spec),
            ABSENT["pasted"],
        ),
    ]
    return save_sheets(sheets, folder, whence)


def scene_of(picture: Picture, recipe: Recipe, shown: list[int]) -> Scene:
    """The picture at the recipe's evaluation size; the method does not get its masks."""
    h, w = picture.height, picture.width
    view = annotated(read_image(picture.path, h, w), picture, hidden=False)
    height, width, scale = network_size(h, w, recipe.data.eval_short_side, recipe.data.max_side)
    view = resize(view, height, width)
    batch = collate([replace(view, masks=None, has_mask=None)], [scale], [picture.id])
    return Scene(batch, view.masks, shown)


def map_rows(method: torch.nn.Module, scene: Scene, view, group: str, names: Sequence[str]) -> list[MapRow]:
    """The maps of the scene's shown objects, every cell of the grid as s x s pixels."""
    maps = method.maps(view)
    labels = label(maps.corrected, maps.instance, view.rectangles, view.covered, method.spec)
    pseudo = torch.where(labels.weight, labels.target.to(torch.int8), -1)
    (size,) = image_sizes(scene.batch)
    stride = method.layout.out_stride
    semantic, instance, corrected, pseudo = (
        _pixels(cells, stride, size) for cells in (maps.semantic, maps.instance, maps.corrected, pseudo)
    )
    image, boxes = _image(scene.batch), view.boxes.numpy()
    return [
        MapRow(
            group,
            names[int(view.labels[i])],
            image,
            boxes[i],
            np.delete(boxes, i, 0),
            semantic[i],
            instance[i],
            corrected[i],
            pseudo[i],
            scene.truth[i],
        )
        for i in scene.shown
    ]


def weight_tile(scene: Scene, view, mu: float, name: str) -> WeightTile:
    """All positives of the scene's objects with their weights of Eq. 6."""
    return WeightTile(
        name,
        _image(scene.batch),
        view.boxes.numpy(),
        view.points.numpy(),
        view.objects.numpy(),
        view.weights(mu).numpy(),
    )


def paste_rows(method: torch.nn.Module, recipe: Recipe, root: Root) -> list[PasteRow]:
    """Composites of training images that follow the last one trained on; the first ones fill the bank.

    Every image is pasted onto, and the bank is shorter than in training. None where no object has a mask.
    """
    spec = method.spec.model_copy(update={"paste_probability": 1.0})
    stride, bank = method.layout.out_stride, NotedBank(SOURCES)
    rows, shown = [], set()
    generator = torch.Generator().manual_seed(recipe.seed)
    stream = train_batches(recipe, root, recipe.schedule.total, micro=recipe.schedule.batch)
    singles = (batch for step in stream for batch in step)  # one image each, which bounds memory
    for batch, _ in zip(singles, range(TRIES), strict=False):
        if bank.full:
            break
        labels = labels_of(method, batch)
        for entry in entries(batch, labels.paste, labels.scores, torch.tensor([False]), stride, spec):
            bank.push(entry)
    if len(bank) == 0:
        return []
    ready = NotedBank(len(bank))  # full, however few there are
    ready.load(bank.state())
    for batch, _ in zip(singles, range(TRIES), strict=False):
        composite = compose(batch, ready, spec, stride, generator)
        if composite.touched.any() and id(ready.last) not in shown:  # each source once
            shown.add(id(ready.last))
            rows.append(_paste_row(ready.last, batch, composite.batch, composite.pasted[0]))
        if len(rows) == COMPOSITES:
            break
    return rows


def labels_of(method: torch.nn.Module, batch: Batch) -> Labels:
    """Pseudo labels of a batch's objects."""
    view = method.view(batch)
    maps = method.maps(view)
    return label(maps.corrected, maps.instance, view.rectangles, view.covered, method.spec)


def _paste_row(entry: Entry, before: Batch, after: Batch, pasted: Tensor) -> PasteRow:
    target = after.targets[0]
    taken = torch.zeros(len(entry.boxes), dtype=torch.bool)
    ious = box_iou(target.boxes[pasted], entry.boxes)
    ious[target.labels[pasted][:, None] != entry.labels[None]] = -1
    taken[ious.argmax(1)] = True
    return PasteRow(
        entry.image.permute(1, 2, 0).numpy(),
        entry.boxes.numpy(),
        taken.numpy(),
        _image(before),
        before.targets[0].boxes.numpy(),
        _image(after),
        target.boxes.numpy(),
        pasted.numpy(),
    )


def _image(batch: Batch) -> np.ndarray:
    """The valid part of the only image: h x w x 3 uint8."""
    ((height, width),) = image_sizes(batch)
    return batch.images[0, :, :height, :width].permute(1, 2, 0).contiguous().numpy()


def _pixels(cells: Tensor, stride: int, size: tuple[int, int]) -> np.ndarray:
    """G x H x W -> G x h x w."""
    large = cells.repeat_interleave(stride, 1).repeat_interleave(stride, 2)
    return large[:, : size[0], : size[1]].numpy()


def _about_maps(spec: SimSpec, rows: list[MapRow]) -> tuple[str, str]:
    """Caption and alternative text."""
    images = len({row.group for row in rows})
    outside = {
        "background": "outside the box everything is background",
        "ignored": "outside the box nothing is supervised",
        "literal": "outside the box the same thresholds hold",
    }[spec.outside]
    high = f"an object's own threshold up to {spec.tau_high:g}" if spec.adaptive else f"{spec.tau_high:g}"
    caption = (
        f"As in Figure 6: {len(rows)} objects of {images} evaluation images, those with overlapping objects"
        " of one class first. Semantic map (Eq. 1), instance map (Eq. 6), corrected map"
        f" (Eq. 7, alpha {spec.alpha:g}) and the pseudo mask: foreground from {high}, background up to"
        f" {spec.tau_low:g}, ambiguous in between; {outside}. The ground truth is shown for comparison only."
    )
    alt = f"Semantic, instance and corrected maps, pseudo mask and ground truth of {len(rows)} objects"
    return caption, alt


def _about_weights(spec: SimSpec, tiles: list[WeightTile]) -> tuple[str, str]:
    count = sum(len(tile.weights) for tile in tiles)
    caption = (
        f"As in Figure 7: the {count} positive locations of every object in these evaluation images. Area and"
        f" colour of a dot are its weight of Eq. 6 (mu {spec.mu:g}) over the largest of the same object; rim"
        " and box show to which object it belongs."
    )
    return caption, f"Dots of different size at {count} positive locations of {len(tiles)} images"


def _about_pasted(spec: SimSpec, rows: list[PasteRow]) -> tuple[str, str]:
    mask = "pseudo masks" if spec.paste_mask == "pseudo" else "instance maps above 0.7"
    count = sum(int(row.pasted.sum()) for row in rows)
    caption = (
        f"As in Figures 4 and 8: {count} objects, cut out along their {mask} from a bank of at most"
        f" {SOURCES} training images and pasted at the same place, with the boxes that the composite is"
        " trained on."
    )
    return caption, f"Source, target and composite of {len(rows)} pasted training images"
