"""What passes between data, methods and evaluation.

Shapes: N instances, H x W network input, h x w original image, B images or patches, S side of a crop.
Boxes are xyxy in pixels, half-open (a box covering pixel 0 alone is [0, 0, 1, 1]); `Targets` are in the
frame of the network input, `Instances` in that of the original image.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from wsis.data.totals import ALONE, Totals

HOST = {"host": True}  # of a dataclass's field: what stays on the CPU wherever the images go
PADDING = (124, 116, 104)  # ImageNet's mean colour: zero after normalisation, as the papers' code pads


@dataclass
class Targets:
    """The annotation of one training image, in the network input's frame.

    Only masks go to the images' device. The rest stays on the CPU: how much there is to do depends on it, and
    asking a graphics card for that would wait for all that it has been given before.

    boxes:    N x 4 float32, xyxy pixels
    labels:   N int64, contiguous class index from 0
    masks:    N x H x W bool, or None where the recipe's supervision hides every mask
    has_mask: N bool; where False the instance's row in `masks` is all False and must not be used
    """

    boxes: Tensor = field(metadata=HOST)
    labels: Tensor = field(metadata=HOST)
    masks: Tensor | None = None
    has_mask: Tensor | None = field(default=None, metadata=HOST)

    @property
    def masked(self) -> Tensor:
        """Which instances have a mask that may be used: N bool on the CPU."""
        if self.masks is None or self.has_mask is None:
            return torch.full_like(self.labels, self.masks is not None, dtype=torch.bool)
        return self.has_mask


@dataclass
class Memo:
    """Images with notes on them: results that every run of this process that reads them can use."""

    memo: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """compute() at the first call with `key`, and the same result at every further one."""
        if key not in self.memo:
            self.memo[key] = compute()
        return self.memo[key]


def all_once(images: Sequence[Memo], key: Hashable, compute: Callable[[], Iterable[Any]]) -> list[Any]:
    """`Memo.once` of several images: compute() gives a result for each of them, in their order.

    It is called where one of them has none; results that others have stay.
    """
    if any(key not in image.memo for image in images):
        for image, result in zip(images, compute(), strict=True):
            image.memo.setdefault(key, result)
    return [image.memo[key] for image in images]


def sent(value: Tensor, device: torch.device) -> Tensor:
    """A tensor on the device; the host does not wait for the copy, which a card takes from pinned memory."""
    if device.type == "cuda" and value.device.type == "cpu":
        value = value.pin_memory()
    return value.to(device, non_blocking=True)


def fetched(*values: Tensor) -> list[Tensor]:
    """Tensors of one device on the CPU, for one wait: the last copy is over when those before it are."""
    *first, last = values
    return [*(value.to("cpu", non_blocking=True) for value in first), last.cpu()]


class Arriving:
    """A tensor on its way to the CPU, while device and host go on."""

    def __init__(self, value: Tensor) -> None:
        self._value, self._there = value.to("cpu", non_blocking=True), None
        if value.device.type == "cuda":
            self._there = torch.cuda.Event()
            self._there.record()

    def read(self) -> Tensor:
        """The tensor on the CPU; the host waits until it is there."""
        if self._there is not None:
            self._there.synchronize()
        return self._value


def changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A copy with every tensor changed, also those in lists and dataclasses.

    Fields that are the host's stay as they are, memos stay behind.
    """
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, list):
        return [changed(item, change) for item in value]
    if is_dataclass(value):
        parts = {part.name: getattr(value, part.name) for part in fields(value) if part.init}
        host = {part.name for part in fields(value) if part.metadata.get("host")}
        return type(value)(**{n: part if n in host else changed(part, change) for n, part in parts.items()})
    return value


@dataclass
class StepImages(Memo):
    """One training step's images or patches; what goes with them is the subclass's.

    images: B x 3 x H x W
    totals: of the batch that these are a part of; on the device whose losses read them
    """

    images: Tensor
    totals: Totals = field(default=ALONE, kw_only=True, repr=False, compare=False, metadata=HOST)

    def pin_memory(self) -> Self:
        """A copy in memory that a card reads while the processor goes on; called by DataLoader."""
        return changed(self, Tensor.pin_memory)

    def to(self, device: torch.device) -> Self:
        """Itself, memo included, where it is there already; else a copy."""
        return self if self.images.device == device else changed(self, lambda value: sent(value, device))


@dataclass
class Batch(StepImages):
    """One training step's images.

    images:   B x 3 x H x W uint8 RGB, padded with PADDING at the right and bottom to a common size
    valid:    B x H x W bool, True where the pixel belongs to the image and not to padding
    scales:   B float, network input pixels per original pixel (for distances given in original pixels)
    targets:  one an image
    ids:      image ids, for messages
    sizes:    (height, width) of each image without its padding; found in `valid` where they are not given
    below:    B float, network input rows of each image that were cropped off below; zeros if not given
    """

    valid: Tensor
    scales: Tensor
    targets: list[Targets]
    ids: list[int] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    below: Tensor | None = None

    def __post_init__(self) -> None:
        if not self.sizes:
            self.sizes = [(int(v.any(1).sum()), int(v.any(0).sum())) for v in self.valid]
        if self.below is None:
            self.below = torch.zeros_like(self.scales)

    def lowest(self, rows: int) -> Tensor:
        """Rows of each network input that show the `rows` lowest of the original image: B float, whole."""
        return ((rows * self.scales).floor() - self.below).clamp(min=0)


@dataclass
class Sample(Memo):
    """One evaluation image as a method's `predict` takes it.

    image: 3 x H x W uint8 RGB, resized for the network
    size:  (h, w) of the original image, to which masks and boxes are brought back
    id:    image id
    """

    image: Tensor
    size: tuple[int, int]
    id: int


@dataclass
class PatchBatch(StepImages):
    """One training step's object patches (BoxCaseg, Sec. 3.2).

    images:  B x 3 x S x S float32, normalised
    labels:  B x S x S float32 in [0, 1]: the box as a rectangle of ones, or a salient image's (soft) mask
    salient: B bool on the CPU, True where the label is a mask
    ids:     annotation id of a box, position of a salient image in its list
    """

    labels: Tensor
    salient: Tensor = field(metadata=HOST)
    ids: list[int] = field(default_factory=list)


@dataclass
class BoxSample(Memo):
    """One image whose annotated boxes are to be filled with masks.

    image:          3 x h x w uint8 RGB, of original size
    boxes:          n x 4 float32, xyxy pixels as annotated: they may be empty or leave the image
    labels:         n int64, contiguous class index from 0; -1 where it is not known
    annotation_ids: one a box
    id:             image id
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    annotation_ids: list[int]
    id: int


@dataclass
class BoxMask:
    """The mask made for one box.

    rle:       compressed, of the image's size
    certainty: 0 to 1; mean |2p - 1| of a network's probabilities
    label:     the class that the network sees in the box, where it tells
    """

    rle: dict
    certainty: float
    label: int | None = None


@dataclass
class SemanticBatch(StepImages):
    """One training step's crops (BAISeg, Secs. 3.1 and 4.2).

    images:    B x 3 x S x S uint8 RGB, PADDING outside the image
    semantic:  B x S x S uint8: 0 background, label + 1, VOID (255) where unknown and outside the image
    instances: B x S x S int16: 0 no object, 1, 2, ... the image's objects in any order; 0 where `semantic`
               is VOID; None unless data.supervision is 'masks'
    ids:       image ids, for messages
    """

    semantic: Tensor
    instances: Tensor | None = None
    ids: list[int] = field(default_factory=list)


@dataclass
class SemanticSample(Memo):
    """One image whose instances are to be extracted (BAISeg, Sec. 3.6).

    image:    3 x h x w uint8 RGB, of original size
    size:     (h, w)
    id:       image id
    semantic: h x w uint8 map that is given at inference, values as in `SemanticBatch`; None: it is predicted
    instances: h x w int16, 0 no object, 1.. objects, where baiseg.boundary is 'truth'; else None
    """

    image: Tensor
    size: tuple[int, int]
    id: int
    semantic: np.ndarray | None = None
    instances: np.ndarray | None = None


@dataclass
class Instances:
    """Predictions for one image, in the original image's frame, best first.

    boxes:  N x 4 float32, xyxy pixels, clipped to the image
    labels: N int64, contiguous class index from 0
    scores: N float32 in [0, 1]
    masks:  N compressed COCO RLE dictionaries {"size": [h, w], "counts": bytes}, never N full-size maps
    annotation_ids: of the annotated objects whose masks they are, in their order; None: they were detected
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    masks: list[dict]
    annotation_ids: list[int] | None = None
