"""Object patches for BoxCaseg: crops around annotated boxes and around salient objects (Sec. 3.2).

Which object is at place p of iteration t, and how it is cut, depends on the recipe's seed, t and p alone, as
in wsis.data.loading. The rules of cutting and normalising are those of wsis.methods.boxcaseg.crops.
B patches of a batch, S their side, h x w image, n objects of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from wsis.data import transforms
from wsis.data.loading import AUGMENT, ORDER, Shard, check_split, fits, stream
from wsis.data.pixel_boxes import pixel_box
from wsis.data.ratio import kind_at
from wsis.data.roots import Root
from wsis.data.salient import SalientRoot, given, read_mask
from wsis.data.structures import PatchBatch
from wsis.declare.recipe import Recipe
from wsis.errors import WsisError
from wsis.methods.boxcaseg.crops import box_label, crop_patch, jittered_box, normalise_patch
from wsis.methods.boxcaseg.overlap import overlapping

T = TypeVar("T")
SUBSET, SKIPPED = 2, 3  # streams of random numbers, beside ORDER and AUGMENT
NONE = np.zeros((0, 2), np.int64)
BOX, SALIENT = 0, 1  # kinds of patches; their orders are drawn apart


def uses_boxes(recipe: Recipe) -> bool:
    """True if the training takes object patches: only the weak head learns from them."""
    return "weak" in recipe.boxcaseg.heads


def uses_salient(recipe: Recipe) -> bool:
    """True if the training takes salient images. Raises WsisError where a head needs hidden ones."""
    if recipe.data.supervision == "boxes+salient":
        return True
    needy = [head for head in recipe.boxcaseg.heads if head != "weak"]
    if needy:
        raise WsisError(
            f"boxcaseg.heads: {' and '.join(needy)} learn from salient images, but data.supervision is"
            f" '{recipe.data.supervision}'; make it 'boxes+salient', or keep the weak head alone"
        )
    return False


def salient_share(recipe: Recipe) -> float | None:
    """Share of salient patches that boxcaseg.ratio fixes, 0 to 1; None where the draw or one kind decides."""
    ratio = recipe.boxcaseg.ratio
    if ratio == "random" or not (uses_boxes(recipe) and uses_salient(recipe)):
        return None
    boxes, images = (int(part) for part in ratio.split(":"))
    return images / (boxes + images)


def patch_batches(
    recipe: Recipe, root: Root | None, salient: SalientRoot | None, shard: Shard = Shard()
) -> Iterator[list[PatchBatch]]:
    """Yield the shard's iterations without end: each is a list of `shard.micro` batches.

    The global batch of recipe.schedule.batch patches is split as in `wsis.data.loading.train_batches`.
    root: None where `uses_boxes` is false; salient: None where `uses_salient` is.
    boxcaseg.ratio: "random" draws from the union of both kinds, each once an epoch. "a:b" gives a batch its
    shares of box and salient patches, spread evenly over its places. Shares that are no whole numbers
    alternate between iterations, so that the ratio holds in the long run.
    boxcaseg.skip_overlapping: an epoch leaves out that share of the boxes that overlap another one heavily.
    boxcaseg.salient_images: that many, drawn from the list by the recipe's seed; fewer are part of more.
    Boxes without area inside their image are left out. Raises WsisError where the batch can't be split
    evenly, a kind of patches is needed but missing, or a file can't be read.
    """
    size = recipe.schedule.batch
    check_split(size, "patches", shard)
    return stream(_Source(recipe, root, salient, shard.workers), size, shard)


class _Source:
    """The objects and the salient images of a training, their order, and caches of what was decoded."""

    def __init__(
        self, recipe: Recipe, root: Root | None, salient: SalientRoot | None, workers: int = 0
    ) -> None:
        self.recipe, self.spec = recipe, recipe.boxcaseg
        self.objects, self.crowded = self._objects(root) if uses_boxes(recipe) else (NONE, NONE)
        self.pictures = root.train if len(self.objects) else []
        skipped = round(self.spec.skip_overlapping * len(self.crowded))
        self.skipped = min(skipped, max(len(self.objects) - 1, 0))
        self.pairs = self._chosen(salient) if uses_salient(recipe) else []
        self.salient = salient
        total = self.pictures.pixels * 3 if len(self.objects) else 0
        total += len(self.pairs) * 7 * self.spec.side**2  # uint8 colours, a float32 mask
        self.cache: dict[tuple[int, int], np.ndarray | tuple] | None = {} if fits(total, workers) else None
        self.order = lru_cache(maxsize=8)(self._order)

    def _objects(self, root: Root | None) -> tuple[np.ndarray, np.ndarray]:
        """Positions (picture, instance) of every box with area inside its image, N x 2; and the rows of those
        that overlap another one heavily, where some of them are skipped.
        """
        if root is None:
            raise WsisError("the weak head learns from annotated boxes: give the root of a data set")
        positions, boxes = root.train.objects()
        limits = root.train.sizes[positions[:, 0], ::-1]
        inside = (np.minimum(boxes[:, 2:], limits) > np.maximum(boxes[:, :2], 0)).all(1)  # as `pixel_box`
        if not inside.any():
            raise WsisError(f"{root.path}: no box has area inside its image; run `wsis data check`")
        positions, boxes = positions[inside], boxes[inside]
        skips = self.spec.skip_overlapping > 0
        return positions, np.flatnonzero(overlapping(positions[:, 0], boxes)) if skips else NONE

    def _chosen(self, salient: SalientRoot | None) -> list[int]:
        """Positions of the images in use."""
        salient = given(salient)
        if self.spec.side < self.spec.patch:
            raise WsisError(
                f"boxcaseg.side {self.spec.side} is below boxcaseg.patch {self.spec.patch}: salient patches"
                " are cut out of images of that side"
            )
        wanted = self.spec.salient_images
        if wanted >= len(salient):
            return list(range(len(salient)))
        return np.random.default_rng([self.recipe.seed, SUBSET]).permutation(len(salient))[:wanted].tolist()

    def _order(self, kinds: tuple[int, ...], epoch: int) -> np.ndarray:
        """(kind, position) of what an epoch has of these kinds, each once, in its order; N x 2."""
        places = {BOX: np.arange(len(self.objects)), SALIENT: np.arange(len(self.pairs))}
        if self.skipped:
            rng = np.random.default_rng([self.recipe.seed, SKIPPED, epoch])
            places[BOX] = np.delete(places[BOX], rng.permutation(self.crowded)[: self.skipped])
        parts = [np.stack([np.full(n, kind), places[kind]], 1) for kind, n in self._held(kinds)]
        rng = np.random.default_rng([self.recipe.seed, ORDER, epoch, *kinds])
        return rng.permutation(np.concatenate(parts))

    def _held(self, kinds: tuple[int, ...]) -> list[tuple[int, int]]:
        """(kind, how many an epoch has) of these kinds, without those that there are none of."""
        counts = {BOX: len(self.objects) - self.skipped, SALIENT: len(self.pairs)}
        return [(kind, counts[kind]) for kind in kinds if counts[kind]]

    def at(self, t: int, place: int) -> tuple[int, int]:
        """(kind, position) of what is at this place of global batch t."""
        size = self.recipe.schedule.batch
        kinds = tuple(kind for kind, _ in self._held((BOX, SALIENT)))
        drawn = t * size + place
        if len(kinds) == 2 and self.spec.ratio != "random":
            boxes, images = (int(part) for part in self.spec.ratio.split(":"))
            kind, drawn = kind_at(t, place, size, (boxes, images))
            kinds = (kind,)
        epoch, position = divmod(drawn, sum(n for _, n in self._held(kinds)))
        kind, index = self.order(kinds, epoch)[position]
        return int(kind), int(index)

    def batch(self, t: int, first: int, patches: int) -> PatchBatch:
        """Places first, first + 1, ... of global batch t."""
        cut = {BOX: self._box_patch, SALIENT: self._salient_patch}
        kinds, parts = [], []
        for place in range(first, first + patches):
            kind, index = self.at(t, place)
            rng = np.random.default_rng([self.recipe.seed, AUGMENT, t, place])
            kinds.append(kind)
            parts.append(cut[kind](index, rng))
        images, labels, ids = zip(*parts, strict=True)
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        salient = torch.tensor(kinds) == SALIENT
        normalised = torch.empty(pixels.shape, dtype=torch.float32)
        for kind in (False, True):
            rows = salient == kind
            normalised[rows] = normalise_patch(pixels[rows], kind, self.spec.normalise)
        return PatchBatch(normalised, torch.from_numpy(np.stack(labels)), salient, list(ids))

    def _box_patch(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
        """S x S x 3 uint8, S x S float32 and the annotation's id; mirrored as data.augment says."""
        row, column = self.objects[index]
        picture = self.pictures[row]
        instance, size = picture.instances[column], (picture.height, picture.width)
        image = self._kept((BOX, int(row)), lambda: transforms.read_image(picture.path, *size))
        box = pixel_box(instance.box, *size)
        crop = jittered_box(box, self.spec.shift, *size, rng)
        parts = crop_patch(image, crop, self.spec.patch), box_label(box, crop, self.spec.patch)
        turn = transforms.draw_turn(self.recipe.data.augment, rng)
        return *(transforms.turned(part, *turn) for part in parts), instance.id

    def _salient_patch(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
        """As above, from an image of side x side; mirrored left-right and top-bottom in half of the cases."""
        position, side, patch = self.pairs[index], self.spec.side, self.spec.patch
        y, x = rng.integers(0, side - patch + 1, 2)
        cut = np.s_[y : y + patch, x : x + patch]
        turn = (False, *(rng.random(2) < 0.5))
        return *(transforms.turned(whole[cut], *turn) for whole in self._pair(position)), position

    def _pair(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """A salient image, side x side x 3 uint8, and its mask, side x side float32 (nearest pixels)."""

        def read() -> tuple[np.ndarray, np.ndarray]:
            path, mask_path = self.salient.pairs[position]
            mask = read_mask(mask_path)
            image = transforms.read_image(path, *mask.shape)
            side = self.spec.side
            resized = Image.fromarray(mask).resize((side, side), Image.Resampling.NEAREST)
            return transforms.resize_image(image, side, side), np.asarray(resized)

        return self._kept((SALIENT, position), read)

    def _kept(self, key: tuple[int, int], read: Callable[[], T]) -> T:
        """What `read` gives, from the cache where there is one."""
        if self.cache is None:
            return read()
        if key not in self.cache:
            self.cache[key] = read()
        return self.cache[key]
