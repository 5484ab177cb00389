"""Batches for training and samples for evaluation.

Which images item t holds and how each is augmented depends on the recipe's seed, t and the image's place in
the global batch, never on what was read before: a resumed training, and one on more processes, sees the same
stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Protocol, TypeVar

import cv2
import numpy as np
import torch

from wsis.data import placement, transforms
from wsis.data.ahead import read_ahead
from wsis.data.annotations import Picture
from wsis.data.masks import draw_mask
from wsis.data.placement import Placement
from wsis.data.roots import Root, open_root
from wsis.data.structures import PADDING, Batch, Memo, Sample, Targets
from wsis.data.transforms import View
from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import DataSpec
from wsis.errors import WsisError

CACHE_BYTES = 512 * 2**20  # decoded images are kept where all readers' whole training sets fit in this
MAX_IMAGES = 16  # evaluation images that a network gets at a time
MAX_PIXELS = 2_000_000  # pixels of them, padding included
BYTES_A_PIXEL = 4096  # of a card's memory; the largest network of the papers takes about a quarter of it
CPU = torch.device("cpu")
ORDER, AUGMENT = 0, 1  # streams of random numbers
MASKED = ("masks", "masks-voc", "masks-nonvoc", "proxy")  # supervisions that show a mask
T = TypeVar("T", covariant=True)
S = TypeVar("S", bound=Memo)


@dataclass(frozen=True)
class Shard:
    """Which part of a training stream a process reads.

    start:   the first iteration
    rank:    which of `world` processes this is
    micro:   micro-batches of a process in an iteration; micro-batch m of rank r is part m x world + r
    workers: processes that read ahead; the stream is the same. 0: this one reads
    """

    start: int = 0
    rank: int = 0
    world: int = 1
    micro: int = 1
    workers: int = 0


class Source(Protocol[T]):
    """Global batches, from which every shard's stream is cut."""

    def batch(self, t: int, first: int, count: int) -> T:
        """Places first, first + 1, ... of global batch t, `count` of them."""


def train_batches(recipe: Recipe, root: Root | Path, shard: Shard = Shard()) -> Iterator[list[Batch]]:
    """Yield the shard's iterations without end: each is a list of `shard.micro` batches.

    The global batch of recipe.schedule.batch images is split into world x micro parts of one size.
    Raises WsisError where the batch can't be split evenly or an image can't be read.
    """
    size = recipe.schedule.batch
    check_split(size, "images", shard)
    source = ImageSource(recipe, root if isinstance(root, Root) else open_root(recipe, root), shard.workers)
    return stream(source, size, shard)


def check_split(size: int, what: str, shard: Shard) -> None:
    """Raise WsisError where a batch of `size` can't be split evenly. what: its items' name."""
    parts = f"{shard.world} processes x {shard.micro} micro-batches"
    if size % (shard.world * shard.micro):
        raise WsisError(f"a batch of {size} {what} can't be split over {parts}")


def stream(source: Source[T], size: int, shard: Shard) -> Iterator[list[T]]:
    """What a shard gets of each global batch of `size`; see `train_batches`."""
    share = size // (shard.world * shard.micro)

    def item(t: int) -> list[T]:
        parts = range(shard.rank, shard.world * shard.micro, shard.world)
        return [source.batch(t, part * share, share) for part in parts]

    if shard.workers:
        return read_ahead(item, shard.start, shard.workers)
    return (item(t) for t in count(shard.start))


def fits(size: int, workers: int) -> bool:
    """Whether decoded images of `size` bytes are kept; every process that reads keeps its own."""
    return size * max(workers, 1) <= CACHE_BYTES


def eval_samples(recipe: Recipe, root: Root | Path, rank: int = 0, world: int = 1) -> Iterator[Sample]:
    """Every world-th evaluation image from the rank-th on, in id order, resized to data.eval_short_side."""
    root = root if isinstance(root, Root) else open_root(recipe, root)
    for picture in root.eval[rank::world]:
        image = transforms.read_image(picture.path, picture.height, picture.width)
        yield image_sample(recipe.data, image, picture.id)


def image_sample(data: DataSpec, image: np.ndarray, id: int) -> Sample:
    """An image, h x w x 3 uint8, resized to data.eval_short_side."""
    size = image.shape[:2]
    height, width, _ = transforms.network_size(*size, data.eval_short_side, data.max_side)
    return Sample(image_tensor(transforms.resize_image(image, height, width)), size, id)


def eval_view(data: DataSpec, picture: Picture) -> tuple[View, Placement]:
    """A picture with boxes and masks, resized to data.eval_short_side, and how."""
    image = transforms.read_image(picture.path, picture.height, picture.width)
    placed = placement.whole(picture.height, picture.width, data.eval_short_side, data.max_side)
    return annotated(image, picture, False, placed), placed


def groups(samples: Iterable[S], device: torch.device = CPU) -> Iterator[list[S]]:
    """Consecutive samples, as many as padded to a common size stay within MAX_IMAGES and MAX_PIXELS.

    A graphics card of more memory gets more pixels.
    """
    pixels = MAX_PIXELS
    if device.type == "cuda":
        pixels = max(pixels, torch.cuda.get_device_properties(device).total_memory // BYTES_A_PIXEL)
    group: list[S] = []
    height = width = 0
    for sample in samples:
        h, w = max(height, sample.image.shape[1]), max(width, sample.image.shape[2])
        if group and (len(group) == MAX_IMAGES or (len(group) + 1) * h * w > pixels):
            yield group
            group = []
            h, w = sample.image.shape[1:]
        group.append(sample)
        height, width = h, w
    if group:
        yield group


class ImageSource:
    """The training pictures, their order, and a cache of decoded images where they are few and small."""

    def __init__(self, recipe: Recipe, root: Root, workers: int = 0) -> None:
        self.recipe, self.pictures = recipe, root.train
        heights, widths = self.pictures.sizes.T
        wide = widths >= heights
        # Pairs of one orientation need less padding; with one orientation only there is nothing to pair.
        self.wide = wide if wide.any() and not wide.all() and recipe.schedule.batch % 2 == 0 else None
        self.period = len(wide) if self.wide is None else max(len(wide) - len(wide) % 2, 1)
        total = self.pictures.pixels * 3
        self.cache: dict[int, np.ndarray] | None = {} if fits(total, workers) else None
        self.order = lru_cache(maxsize=4)(self._order)

    def _order(self, epoch: int) -> np.ndarray:
        """Positions of the pictures in one epoch, each once (one is left out where pairs leave it over)."""
        rng = np.random.default_rng([self.recipe.seed, ORDER, epoch])
        order = rng.permutation(len(self.pictures))
        if self.wide is None or len(order) < 2:
            return order
        groups = [order[self.wide[order]], order[~self.wide[order]]]
        pairs = [group[: len(group) // 2 * 2] for group in groups]
        rest = np.concatenate([group[len(group) // 2 * 2 :] for group in groups])
        pairs = np.concatenate([*pairs, rest[: len(rest) // 2 * 2]]).reshape(-1, 2)
        return rng.permutation(pairs).ravel()

    def batch(self, t: int, first: int, images: int) -> Batch:
        """Places first, first + 1, ... of global batch t."""
        places = range(first, first + images)
        views, placements, ids = [], [], []
        for place in places:
            rng = np.random.default_rng([self.recipe.seed, AUGMENT, t, place])
            view, placed, id = self.drawn(t * self.recipe.schedule.batch + place, rng)
            views.append(view)
            placements.append(placed)
            ids.append(id)
        return collate(views, placements, ids)

    def drawn(self, number: int, rng: np.random.Generator) -> tuple[View, Placement, int]:
        """The image that is drawn after `number` others, augmented, how it is resized, and its id."""
        epoch, position = divmod(number, self.period)
        index = int(self.order(epoch)[position])
        picture, data = self.pictures[index], self.recipe.data
        placed = placement.drawn(data, picture.height, picture.width, rng)
        view = annotated(self._image(index), picture, data.supervision not in MASKED, placed)
        return transforms.augment(view, data.augment, rng), placed, int(self.pictures.ids[index])

    def _image(self, index: int) -> np.ndarray:
        if self.cache is not None and index in self.cache:
            return self.cache[index]
        picture = self.pictures[index]
        image = transforms.read_image(picture.path, picture.height, picture.width)
        if self.cache is not None:
            self.cache[index] = image
        return image


def annotated(image: np.ndarray, picture: Picture, hidden: bool, placed: Placement) -> View:
    """The placed picture with its boxes, and with the masks that the supervision leaves unless `hidden`.

    Boxes are clipped; those under one pixel a side are dropped, with their masks. In a frame, objects are
    dropped whose given mask is empty, too.
    """
    size, instances = (picture.height, picture.width), picture.instances
    boxes = np.array([i.box for i in instances], np.float32).reshape(-1, 4)
    boxes, kept = placed.boxes(boxes, size)
    labels = np.array([i.label for i in instances], np.int64)[kept]
    image = placed.image(image)
    if hidden:
        return View(image, boxes[kept], labels)
    shown = [instances[row] for row in np.flatnonzero(kept)]
    masks = np.zeros((len(shown), placed.rows, placed.columns), bool)
    has_mask = np.array([instance.segmentation is not None for instance in shown], bool)
    for mask, instance in zip(masks, shown, strict=True):
        if instance.segmentation is not None:
            try:
                if placed.cuts:
                    drawn = np.zeros((placed.height, placed.width), bool)
                    draw_mask(instance.segmentation, size, drawn)
                    mask[:] = placed.cut(drawn)
                else:
                    draw_mask(instance.segmentation, size, mask)
            except ValueError as error:
                raise WsisError(f"{picture.path}: the mask of annotation {instance.id}: {error}") from None
    view = View(image, boxes[kept], labels, masks, has_mask)
    return placement.tightened(view) if placed.frame else view


def collate(views: list[View], placements: list[Placement], ids: list[int]) -> Batch:
    """Pad at the right and bottom, to the common size or the placements' frame: a multiple of 32."""
    frame = max(placed.frame for placed in placements)
    height = transforms.padded(max(frame, *(view.image.shape[0] for view in views)))
    width = transforms.padded(max(frame, *(view.image.shape[1] for view in views)))
    padding = torch.tensor(PADDING, dtype=torch.uint8)
    images = padding[:, None, None].repeat(len(views), 1, height, width)
    valid = torch.zeros(len(views), height, width, dtype=torch.bool)
    targets = []
    for row, view in enumerate(views):
        h, w = view.image.shape[:2]
        for plane, colour in zip(images[row], cv2.split(view.image), strict=True):
            plane[:h, :w] = torch.from_numpy(colour)
        valid[row, :h, :w] = True
        masks = has_mask = None
        if view.masks is not None:
            masks = torch.zeros(len(view.masks), height, width, dtype=torch.bool)
            masks[:, :h, :w] = torch.from_numpy(view.masks)
            has_mask = torch.from_numpy(view.has_mask)
        boxes = torch.from_numpy(np.ascontiguousarray(view.boxes, dtype=np.float32))
        targets.append(Targets(boxes, torch.from_numpy(view.labels), masks, has_mask))
    sizes = [view.image.shape[:2] for view in views]
    scales, below = torch.tensor([(placed.scale, placed.below) for placed in placements]).float().unbind(1)
    return Batch(images, valid, scales, targets, ids, sizes, below)


def image_tensor(image: np.ndarray) -> torch.Tensor:
    """H x W x 3 uint8 array -> 3 x H x W tensor."""
    return torch.from_numpy(np.stack(cv2.split(image)))
