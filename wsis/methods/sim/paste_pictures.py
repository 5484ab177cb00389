"""Training images onto which a trained SIM pastes objects, as a sheet of pictures: its Figures 4 and 8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from wsis.data.loading import Shard, train_batches
from wsis.data.structures import Batch
from wsis.methods.sim.bank import Bank, Entry, entries
from wsis.methods.sim.paste import compose
from wsis.methods.sim.pseudo import Labels, label
from wsis.pictures import canvas
from wsis.pictures.grid import Box, Key, Row, Sheet, Tile
from wsis.pictures.subject import Subject

COMPOSITES = 4
SOURCES = 12  # images in the bank from which they are pasted
TRIES = 48  # training images for either


class NotedBank(Bank):
    """A bank that remembers which entry it gave last."""

    last: Entry | None = None

    def draw(self, generator: torch.Generator) -> Entry:
        self.last = super().draw(generator)
        return self.last


def paste_rows(method: nn.Module, subject: Subject) -> list[Row]:
    """Composites of training images that follow the last one trained on; the first ones fill the bank.

    Every image is pasted onto, and the bank is shorter than in training. None where no object has a mask.
    """
    recipe, spec = subject.recipe, method.spec.model_copy(update={"paste_probability": 1.0})
    stride, bank = method.layout.out_stride, NotedBank(SOURCES)
    rows, shown = [], set()
    generator = torch.Generator().manual_seed(recipe.seed)
    stream = train_batches(recipe, subject.root, Shard(recipe.schedule.total, micro=recipe.schedule.batch))
    singles = (batch for step in stream for batch in step)  # one image each, which bounds memory
    for batch, _ in zip(singles, range(TRIES), strict=False):
        if bank.full:
            break
        _, labels = labels_of(method, method.view(batch))
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


def labels_of(method: nn.Module, view: Any) -> tuple[Any, Labels]:
    """Maps and pseudo labels of a view's objects."""
    maps = method.maps(view)
    return maps, label(maps.corrected, maps.instance, view.rectangles, view.covered, method.spec)


def _paste_row(entry: Entry, before: Batch, after: Batch, pasted: Tensor) -> Row:
    """Source, target and composite; of the source's objects those that were pasted stand out."""
    target = after.targets[0]
    taken = torch.zeros(len(entry.boxes), dtype=torch.bool)
    ious = box_iou(target.boxes[pasted], entry.boxes)
    ious[target.labels[pasted][:, None] != entry.labels[None]] = -1
    taken[ious.argmax(1)] = True

    def tile(image: np.ndarray, boxes: Tensor, chosen: Tensor, other: canvas.Colour) -> Tile:
        colours = [canvas.PASTED if flag else other for flag in chosen.tolist()]
        return Tile(image, None, [Box(*pair) for pair in zip(boxes.numpy(), colours, strict=True)])

    old = before.targets[0].boxes
    return Row(
        [
            tile(entry.image.permute(1, 2, 0).numpy(), entry.boxes, taken, canvas.OTHER),
            tile(image_of(before), old, torch.zeros(len(old)), canvas.ORIGINAL),
            tile(image_of(after), target.boxes, pasted, canvas.ORIGINAL),
        ]
    )


def paste_sheet(spec: Any, rows: Sequence[Row]) -> Sheet:
    """Figures 4 and 8: source image, target image and the composite that is trained on, a row each."""
    mask = "pseudo masks" if spec.paste_mask == "pseudo" else "instance maps above 0.7"
    count = sum(mark.colour == canvas.PASTED for row in rows for mark in row.tiles[-1].marks)
    return Sheet(
        name="pasted",
        title="Pasted training images",
        rows=rows,
        headings=[("source", "from the bank"), ("target", ""), ("pasted", "what is trained on")],
        legend=[
            Key("object of the target", [canvas.ORIGINAL]),
            Key("pasted object", [canvas.PASTED]),
            Key("object of the source that stays there", [canvas.OTHER]),
        ],
        caption=(
            f"As in Figures 4 and 8: {count} objects, cut out along their {mask} from a bank of at most"
            f" {SOURCES} training images and pasted at the same place, with the boxes that the composite is"
            " trained on."
        ),
        alt=f"Source, target and composite of {len(rows)} pasted training images",
        absent=f"no object of {TRIES} training images has a mask to cut along, or none could be pasted",
    )


def image_of(batch: Batch) -> np.ndarray:
    """The valid part of the only image: h x w x 3 uint8."""
    ((height, width),) = batch.sizes
    return batch.images[0, :, :height, :width].permute(1, 2, 0).contiguous().numpy()
