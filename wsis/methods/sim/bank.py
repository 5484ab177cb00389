"""SIM's memory bank: recent training images with their pseudo masks, the source of pasted objects (Sec. 3.3).

First in, first out, on the CPU: images as uint8 without padding, masks as bits on the mask grid, so that an
entry costs little more than its picture.

Shapes: B images, G objects of a batch, N objects of an entry, h x w pixels of an image without padding,
H x W mask grid of the batch, s its stride; an entry's own grid has ceil(h / s) x ceil(w / s) cells.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wsis.data.structures import Batch, fetched
from wsis.errors import WsisError
from wsis.methods.sim.spec import SimSpec


@dataclass
class Entry:
    """One image of the bank, all on the CPU; never changed once stored.

    image:  3 x h x w uint8 RGB, the valid part of a network input
    boxes:  N x 4 float32, xyxy pixels of that image
    labels: N int64
    masks:  N x ceil(cells / 8) uint8, `pack`ed masks on the image's own grid
    scores: N float32, importance S of Eq. 11
    size:   rows and columns of that grid
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    masks: Tensor
    scores: Tensor
    size: tuple[int, int]

    def chosen(self, which: Tensor) -> Entry:
        """The same image with the objects `which` only, an index of any kind along N."""
        parts = (self.boxes[which], self.labels[which], self.masks[which], self.scores[which])
        return Entry(self.image, *parts, self.size)


class Bank:
    """The newest `length` entries, of this process alone."""

    def __init__(self, length: int) -> None:
        self.entries: deque[Entry] = deque(maxlen=length)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def full(self) -> bool:
        return len(self.entries) == self.entries.maxlen

    def push(self, entry: Entry) -> None:
        """Store the objects with a mask and a score above zero; without any, nothing."""
        good = (entry.scores > 0) & (entry.masks != 0).any(1)
        if good.any():
            self.entries.append(entry if good.all() else entry.chosen(good))

    def draw(self, generator: torch.Generator) -> Entry:
        """An entry of a bank that is not empty, all equally likely; `generator` on the CPU."""
        return self.entries[int(torch.randint(len(self.entries), (), generator=generator))]

    def state(self) -> dict:
        """Tensors and plain types only, for a checkpoint; shares memory with the bank."""
        return {"entries": [dict(vars(entry)) for entry in self.entries]}

    def load(self, state: dict) -> None:
        """Take over what `state` returned; where it holds more than fits, the newest.

        Raises WsisError if it isn't the state of a bank.
        """
        try:
            entries = [_entry(fields) for fields in state["entries"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise WsisError(
                "the checkpoint's memory bank can't be read; "
                "continue with the code that wrote it, or start again"
            ) from error
        self.entries = deque(entries, maxlen=self.entries.maxlen)


def entries(
    batch: Batch, paste: Tensor, scores: Tensor, touched: Tensor, stride: int, spec: SimSpec
) -> list[Entry]:
    """What a training batch gives to the bank, oldest first: its images with an object to paste.

    Images that were pasted onto are left out unless `spec.composites`. With `spec.aliases` every entry is the
    last of them, as in the released code (S13).

    Args:
        batch: as the network saw it, of G objects
        paste: G x H x W bool, masks of its objects on the grid
        scores: G float, Eq. 11
        touched: B bool, images that hold pasted objects
        stride: s
    """
    counts = [len(target.boxes) for target in batch.targets]
    images, paste, scores = fetched(batch.images, paste, scores.detach().float())
    owned = list(zip(images, paste.split(counts), scores.split(counts), strict=True))
    wanted = [
        image
        for image, (*_, of_image) in enumerate(owned)
        if (of_image > 0).any() and (spec.composites or not touched[image])
    ]
    if spec.aliases:
        return [_entry_of(batch, image, *owned[image], stride) for image in wanted[-1:]] * len(wanted)
    return [_entry_of(batch, image, *owned[image], stride) for image in wanted]


def _entry_of(batch: Batch, number: int, image: Tensor, paste: Tensor, scores: Tensor, stride: int) -> Entry:
    """Image `number` of a batch, copied: nothing of the batch stays alive through the bank."""
    (height, width), target = batch.sizes[number], batch.targets[number]
    grid = (-(-height // stride), -(-width // stride))
    return Entry(
        _copy(image[:, :height, :width]),
        _copy(target.boxes),
        _copy(target.labels),
        pack(paste[:, : grid[0], : grid[1]]),
        _copy(scores),
        grid,
    )


def _entry(fields: dict) -> Entry:
    """An entry of `Bank.state`, brought to the CPU wherever the checkpoint was loaded to."""
    tensors = {name: value.cpu() for name, value in fields.items() if name != "size"}
    rows, columns = fields["size"]
    return Entry(**tensors, size=(int(rows), int(columns)))


def _copy(x: Tensor) -> Tensor:
    return x.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def pack(masks: Tensor) -> Tensor:
    """N x rows x columns bool -> N x ceil(rows * columns / 8) uint8, on the CPU."""
    return torch.from_numpy(np.packbits(masks.flatten(1).numpy(), axis=1))


def unpack(packed: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo `pack`: N x rows x columns bool."""
    bits = np.unpackbits(packed.numpy(), axis=1, count=size[0] * size[1])
    return torch.from_numpy(bits.view(bool)).unflatten(1, size)
