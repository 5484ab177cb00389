"""Crops with semantic maps for a training, and BAISeg's evaluation and development images (Sec. 4.2).

Which image is at place p of iteration t, and how it is cut, depends on the recipe's seed, t and p alone, as
in wsis.data.loading. Nothing of a batch depends on which pixels are one object, unless data.supervision is
'masks', the control that is trained on the contours of instances.
B crops of a batch, S their side, h x w image, H x W resized image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch

from wsis.data import transforms
from wsis.data.annotations import Picture
from wsis.data.loading import AUGMENT, ORDER, Shard, check_split, fits, image_tensor, stream
from wsis.data.roots import Root
from wsis.data.structures import PADDING, SemanticBatch, SemanticSample
from wsis.declare.recipe import Recipe
from wsis.errors import WsisError
from wsis.methods.baiseg.distort import distorted
from wsis.methods.baiseg.semantic import GROUND_TRUTH, VOID, SemanticMaps, paint_instances
from wsis.methods.baiseg.taught import TaughtMaps
from wsis.nn.backbones import BACKBONES

DEV = "dev"  # the split of development images, where a generated root has one

Example = tuple[np.ndarray, ...]  # image h x w x 3 uint8, semantic map, and the instance map where given


def semantic_batches(recipe: Recipe, root: Root, shard: Shard = Shard()) -> Iterator[list[SemanticBatch]]:
    """Yield the shard's iterations without end: each is a list of `shard.micro` batches.

    The global batch of recipe.schedule.batch crops is split as in `wsis.data.loading.train_batches`. A crop
    is a square of pixels (`crop` of the method's section) at random of the image resized to one of
    data.short_side (its long side at most data.max_side), padded at random where that is smaller, then
    mirrored as data.augment says.
    Raises WsisError where the batch can't be split evenly, the crop does not suit the backbone, or a file
    can't be read.
    """
    size = recipe.schedule.batch
    check_split(size, "images", shard)
    _check_crop(recipe)
    return stream(_Source(recipe, root, shard.workers), size, shard)


def semantic_samples(recipe: Recipe, root: Root, rank: int = 0, world: int = 1) -> Iterator[SemanticSample]:
    """Every world-th evaluation image from the rank-th on, in id order, with the map of eval_semantics."""
    maps, known = _given(recipe, root, recipe.data.eval), {}
    if recipe.baiseg.boundary == "truth":
        known = {picture.id: picture for picture in root.with_masks(recipe.data.eval)}
    return (_sample(picture, maps, known.get(picture.id)) for picture in root.eval[rank::world])


def dev_samples(recipe: Recipe, root: Root) -> list[tuple[Picture, SemanticSample]]:
    """The development images, in id order, on which thresholds are chosen, and their pictures with masks.

    They are the first baiseg.dev_images of split 'dev', in a generated root that has it, else of the training
    pictures (their instances are read for this alone). Pictures are as in Root.eval, crowd regions marked,
    but with segmentations. Raises WsisError where masks or maps are missing.
    """
    if root.dataset == "shapes" and (root.path / "annotations" / f"instances_{DEV}.json").exists():
        split, pictures = DEV, root.with_masks(DEV)[: recipe.baiseg.dev_images]
    else:
        split = recipe.data.train
        chosen = {picture.id for picture in root.train[: recipe.baiseg.dev_images]}
        pictures = root.with_masks(split, chosen)
    maps, truth = _given(recipe, root, split), recipe.baiseg.boundary == "truth"
    return [(picture, _sample(picture, maps, picture if truth else None)) for picture in pictures]


def training_samples(recipe: Recipe, root: Root, pictures: Sequence[Picture]) -> Iterator[SemanticSample]:
    """Training pictures with the maps that the training saw, for masks that another network learns from.

    In them VOC's objects have no bands of void, which would part touching ones of a class.
    """
    maps = training_maps(recipe, root)
    for picture in pictures:
        yield replace(image_of(picture), semantic=maps.labels(picture))


def training_maps(recipe: Recipe, root: Root) -> SemanticMaps | TaughtMaps:
    """What is learnt from: the ground truth, files of another system, or what another network predicted."""
    if recipe.proxy is not None:
        return TaughtMaps(root)
    source = GROUND_TRUTH if recipe.baiseg is None else recipe.baiseg.train_semantics
    return SemanticMaps(root, recipe.data.train, source)


def _check_crop(recipe: Recipe) -> None:
    crop, backbone = recipe.section.crop, recipe.model.backbone
    multiple = BACKBONES[backbone].multiple
    if crop % multiple:
        raise WsisError(
            f"{recipe.method}.crop {crop} is no multiple of {multiple}, as backbone '{backbone}' needs: set"
            f" it to {max(round(crop / multiple), 1) * multiple}"
        )


def _given(recipe: Recipe, root: Root, split: str) -> SemanticMaps | None:
    """The maps that inference is given; None where it predicts them."""
    source = recipe.baiseg.eval_semantics
    return None if source == "predicted" else SemanticMaps(root, split, source)


def _sample(picture: Picture, maps: SemanticMaps | None, masked: Picture | None = None) -> SemanticSample:
    """masked: the picture with its masks, where the true boundaries are asked for."""
    semantic = None if maps is None else maps.read(picture)
    return replace(
        image_of(picture), semantic=semantic, instances=None if masked is None else objects(masked)
    )


def image_of(picture: Picture) -> SemanticSample:
    """A picture without anything that is known of it."""
    size = picture.height, picture.width
    return SemanticSample(image_tensor(transforms.read_image(picture.path, *size)), size, picture.id)


def objects(picture: Picture) -> np.ndarray:
    """The instance map of a picture's objects, h x w int16; crowd regions are none."""
    return paint_instances(replace(picture, instances=[i for i in picture.instances if not i.crowd]))


class _Source:
    """The training pictures, their order, and a cache of what was decoded where they are few and small."""

    def __init__(self, recipe: Recipe, root: Root, workers: int = 0) -> None:
        self.recipe, self.pictures = recipe, root.train
        self.maps = training_maps(recipe, root)
        self.instances = recipe.data.supervision == "masks"
        total = self.pictures.pixels * (6 if self.instances else 4)
        self.cache: dict[int, Example] | None = {} if fits(total, workers) else None
        self.order = lru_cache(maxsize=4)(self._order)

    def _order(self, epoch: int) -> np.ndarray:
        """Positions of the pictures in one epoch, each once."""
        return np.random.default_rng([self.recipe.seed, ORDER, epoch]).permutation(len(self.pictures))

    def batch(self, t: int, first: int, crops: int) -> SemanticBatch:
        """Places first, first + 1, ... of global batch t."""
        examples, ids = [], []
        for place in range(first, first + crops):
            epoch, position = divmod(t * self.recipe.schedule.batch + place, len(self.pictures))
            index = int(self.order(epoch)[position])
            rng = np.random.default_rng([self.recipe.seed, AUGMENT, t, place])
            examples.append(augmented(self._example(index), self.recipe, rng))
            ids.append(self.pictures[index].id)
        images, *maps = (torch.from_numpy(np.stack(parts)) for parts in zip(*examples, strict=True))
        return SemanticBatch(images.permute(0, 3, 1, 2).contiguous(), *maps, ids=ids)

    def _example(self, index: int) -> Example:
        if self.cache is not None and index in self.cache:
            return self.cache[index]
        picture = self.pictures[index]
        image = transforms.read_image(picture.path, picture.height, picture.width)
        maps = (self.maps.read(picture), *([paint_instances(picture)] if self.instances else []))
        example = (image, *self.maps.filled(*maps))
        if self.cache is not None:
            self.cache[index] = example
        return example


def augmented(example: Example, recipe: Recipe, rng: np.random.Generator) -> Example:
    """One S x S crop of an example: resized, cut or padded, mirrored; the arrays stay aligned.

    The image is resized bilinearly, the maps by nearest pixels, so that no value arises that they don't have.
    Photometric distortion has draws of its own, so that it changes no crop.
    """
    data, side = recipe.data, recipe.section.crop
    image, *maps = example
    short = data.short_side[int(rng.integers(len(data.short_side)))]
    height, width, _ = transforms.network_size(*image.shape[:2], short, data.max_side)
    rows, columns = (_nearest(*sizes) for sizes in zip(image.shape[:2], (height, width), strict=True))
    (top, into_top), (left, into_left) = _window(height, side, rng), _window(width, side, rng)
    cut = [transforms.resize_image(image, height, width)[top, left]]
    if recipe.section.photometric:
        cut[0] = distorted(cut[0], rng.spawn(1)[0])
    cut += [array[rows[top, None], columns[left]] for array in maps]
    crops = []
    for array, outside in zip(cut, (PADDING, VOID, 0)[: len(cut)], strict=True):
        crop = np.empty((side, side, *array.shape[2:]), array.dtype)
        crop[:] = outside
        crop[into_top, into_left] = array
        crops.append(crop)
    turn = transforms.draw_turn(data.augment, rng)
    return tuple(transforms.turned(crop, *turn) for crop in crops)


def _nearest(size: int, length: int) -> np.ndarray:
    """Which of `size` pixels is nearest to each pixel of a line resized to `length`."""
    return (2 * np.arange(length) + 1) * size // (2 * length)


def _window(length: int, side: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Along one axis: what is cut out of the resized image, and where in the crop it goes."""
    start = int(rng.integers(abs(length - side) + 1))
    whole, part = slice(0, min(length, side)), slice(start, start + min(length, side))
    return (part, whole) if length >= side else (whole, part)
