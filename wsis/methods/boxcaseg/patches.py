"""Object patches for BoxCaseg: crops around annotated boxes and around salient objects (Sec. 3.2).

Which object is at place p of iteration t, and how it is cut, depends on the recipe's seed, t and p alone, as
in wsis.data.loading. The rules of cutting and normalising are those of wsis.methods.boxcaseg.crops.
B patches of a batch, S their side, h x w image, n objects of an image.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from wsis.data import transforms
from wsis.data.loading import AUGMENT, CACHE_BYTES, ORDER, Shard, check_split, stream
from wsis.data.roots import Root, open_root
from wsis.data.salient import SalientRoot, read_mask
from wsis.data.structures import PatchBatch
from wsis.declare.recipe import Recipe
from wsis.errors import WsisError
from wsis.methods.boxcaseg.crops import box_label, crop_patch, jittered_box, normalise_patch, pixel_box

SUBSET = 2  # stream of random numbers, beside ORDER and AUGMENT
BOX, SALIENT = 0, 1  # kinds of patches; their orders are drawn apart


def uses_boxes(recipe: Recipe) -> bool:
    """Does the training take object patches? Without the weak head nothing learns from them."""
    return "weak" in recipe.boxcaseg.heads


def uses_salient(recipe: Recipe) -> bool:
    """Does the training take salient images? Raises WsisError where a head needs what supervision hides."""
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
    """Salient patches among those of a training, where boxcaseg.ratio fixes it; None: the draw decides."""
    ratio = recipe.boxcaseg.ratio
    if ratio == "random" or not (uses_boxes(recipe) and uses_salient(recipe)):
        return None
    boxes, images = (int(part) for part in ratio.split(":"))
    return images / (boxes + images)


def patch_batches(
    recipe: Recipe,
    root: Root | Path | None,
    salient: SalientRoot | None,
    shard: Shard = Shard(),
) -> Iterator[list[PatchBatch]]:
    """Yield the shard's iterations without end: each is a list of `shard.micro` batches.

    The global batch of recipe.schedule.batch patches is split as in `wsis.data.loading.train_batches`.
    root: None where `uses_boxes` is false; salient: None where `uses_salient` is.
    boxcaseg.ratio: "random" draws from the union of both kinds, each once an epoch. "a:b" gives a batch its
    shares of box and salient patches, spread evenly over its places; where they are no whole numbers they
    take turns over the iterations so that the ratio holds in the long run.
    boxcaseg.salient_images: that many, drawn from the list by the recipe's seed; fewer are part of more.
    Boxes without area inside their image are left out. Raises WsisError where the batch can't be split
    evenly, a kind of patches is needed but missing, or a file can't be read.
    """
    size = recipe.schedule.batch
    check_split(size, "patches", shard)
    if root is not None and not isinstance(root, Root):
        root = open_root(recipe, root)
    return stream(_Source(recipe, root, salient), size, shard)


class _Source:
    """The objects and the salient images of a training, their order, and caches of what was decoded."""

    def __init__(self, recipe: Recipe, root: Root | None, salient: SalientRoot | None) -> None:
        self.recipe, self.spec = recipe, recipe.boxcaseg
        self.objects = self._objects(root) if uses_boxes(recipe) else np.zeros((0, 2), np.int64)
        self.pictures = root.train if len(self.objects) else []
        self.pairs = self._chosen(salient) if uses_salient(recipe) else []
        self.salient = salient
        total = sum(p.height * p.width * 3 for p in self.pictures)
        total += len(self.pairs) * 7 * self.spec.side**2  # uint8 colours, a float32 mask
        self.cache: dict[tuple[int, int], np.ndarray | tuple] | None = {} if total <= CACHE_BYTES else None
        self.order = lru_cache(maxsize=8)(self._order)

    def _objects(self, root: Root | None) -> np.ndarray:
        """(picture, instance) positions of every box with area inside its image; N x 2."""
        if root is None:
            raise WsisError("the weak head learns from annotated boxes: give the root of a data set")
        positions = [
            (row, column)
            for row, picture in enumerate(root.train)
            for column, instance in enumerate(picture.instances)
            if pixel_box(instance.box, picture.height, picture.width) is not None
        ]
        if not positions:
            raise WsisError(f"{root.path}: no box has area inside its image; run `wsis data check`")
        return np.array(positions)

    def _chosen(self, salient: SalientRoot | None) -> list[int]:
        """Positions of the images in use."""
        if salient is None or not len(salient):
            raise WsisError(
                "data.supervision 'boxes+salient' needs salient images: give their root (salient=PATH), or"
                " for `shapes` a data.shapes.salient_images above 0"
            )
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
        """(kind, position) of what these kinds hold, each once, in the order of one epoch; N x 2."""
        parts = [np.stack([np.full(n, kind), np.arange(n)], 1) for kind, n in self._held(kinds)]
        rng = np.random.default_rng([self.recipe.seed, ORDER, epoch, *kinds])
        return rng.permutation(np.concatenate(parts))

    def _held(self, kinds: tuple[int, ...]) -> list[tuple[int, int]]:
        """(kind, how many there are) of these kinds, without those that there are none of."""
        counts = {BOX: len(self.objects), SALIENT: len(self.pairs)}
        return [(kind, counts[kind]) for kind in kinds if counts[kind]]

    def at(self, t: int, place: int) -> tuple[int, int]:
        """(kind, position) of what is at this place of global batch t."""
        size = self.recipe.schedule.batch
        kinds = tuple(kind for kind, _ in self._held((BOX, SALIENT)))
        drawn = t * size + place
        if len(kinds) == 2 and self.spec.ratio != "random":
            boxes, images = (int(part) for part in self.spec.ratio.split(":"))
            whole = boxes + images
            before, after = t * size * boxes // whole, (t + 1) * size * boxes // whole
            share = after - before  # boxes of this batch
            first, second = place * share // size, (place + 1) * share // size
            if second > first:
                kinds, drawn = (BOX,), before + first
            else:
                kinds, drawn = (SALIENT,), (t * size - before) + place - first
        epoch, position = divmod(drawn, sum(n for _, n in self._held(kinds)))
        kind, index = self.order(kinds, epoch)[position]
        return int(kind), int(index)

    def batch(self, t: int, first: int, patches: int) -> PatchBatch:
        """Places first, first + 1, ... of global batch t."""
        images, labels, salient, ids = [], [], [], []
        for place in range(first, first + patches):
            kind, index = self.at(t, place)
            rng = np.random.default_rng([self.recipe.seed, AUGMENT, t, place])
            image, label, id = self._box_patch(index, rng) if kind == BOX else self._salient_patch(index, rng)
            images.append(image)
            labels.append(label)
            salient.append(kind == SALIENT)
            ids.append(id)
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        masked = torch.tensor(salient)
        normalised = torch.empty(pixels.shape, dtype=torch.float32)
        for kind in (False, True):
            rows = masked == kind
            normalised[rows] = normalise_patch(pixels[rows], kind, self.spec.normalise)
        return PatchBatch(normalised, torch.from_numpy(np.stack(labels)), masked, ids)

    def _box_patch(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
        """S x S x 3 uint8, S x S float32 and the annotation's id; mirrored as data.augment says."""
        row, column = self.objects[index]
        picture = self.pictures[row]
        instance, image = picture.instances[column], self._image(int(row))
        box = pixel_box(instance.box, picture.height, picture.width)
        crop = jittered_box(box, self.spec.shift, picture.height, picture.width, rng)
        label = box_label(box, crop, self.spec.patch)
        transpose, horizontal, vertical = rng.random(3) < 0.5
        kind = self.recipe.data.augment
        dihedral = kind == "dihedral"
        turn = (transpose and dihedral, horizontal and kind != "none", vertical and dihedral)
        return *_turned(crop_patch(image, crop, self.spec.patch), label, *turn), instance.id

    def _salient_patch(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
        """As above, from an image of side x side; mirrored left-right and top-bottom in half of the cases."""
        position, side, patch = self.pairs[index], self.spec.side, self.spec.patch
        image, mask = self._pair(position)
        y, x = rng.integers(0, side - patch + 1, 2)
        part = np.s_[y : y + patch, x : x + patch]
        horizontal, vertical = rng.random(2) < 0.5
        return *_turned(image[part], mask[part], False, horizontal, vertical), position

    def _image(self, row: int) -> np.ndarray:
        """The h x w x 3 uint8 image of a picture."""
        picture = self.pictures[row]
        return self._kept(
            (BOX, row), lambda: transforms.read_image(picture.path, picture.height, picture.width)
        )

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

    def _kept(self, key: tuple[int, int], read):
        if self.cache is None:
            return read()
        if key not in self.cache:
            self.cache[key] = read()
        return self.cache[key]


def _turned(
    image: np.ndarray, label: np.ndarray, transpose: bool, horizontal: bool, vertical: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Swap the axes of a patch and of its label, mirror left-right, mirror top-bottom."""
    if transpose:
        image, label = image.transpose(1, 0, 2), label.T
    step = (slice(None, None, -1 if vertical else 1), slice(None, None, -1 if horizontal else 1))
    return image[step], label[step]
