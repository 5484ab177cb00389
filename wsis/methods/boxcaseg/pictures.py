"""What a trained BoxCaseg learns from and makes of a few objects, as sheets of pictures.

Shapes: S patch side, B patches of a batch, H x W grid of the logits, h x w pixels of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsis.data.annotations import Picture
from wsis.data.masks import decode_mask
from wsis.data.pixel_boxes import pixel_box
from wsis.data.structures import PatchBatch
from wsis.data.transforms import read_image
from wsis.methods.boxcaseg.box_masks import fill_box, in_box
from wsis.methods.boxcaseg.crops import BOX_MEAN, IMAGENET_MEAN, IMAGENET_STD, crop_patch, normalise_patch
from wsis.methods.boxcaseg.losses import ON
from wsis.methods.boxcaseg.patches import patch_batches
from wsis.pictures import canvas
from wsis.pictures.choice import choose
from wsis.pictures.grid import Bar, Box, Key, Row, Sheet, Tile, wrapped
from wsis.pictures.subject import Subject

PATCHES = 12  # of either kind
COLUMNS = 6  # of patches
BATCHES = 64  # in which they are looked for
IMAGES = 5  # whose objects' maps are shown
STRIP = 1 / 13  # of a patch's side: the marks beside it


def draw(subject: Subject) -> list[Sheet]:
    """Training patches with their bags, and each head's maps of a few objects."""
    (method,) = subject.networks.values()
    rows = head_rows(method, subject.pictures, subject.root.category_names)
    return [
        patches_sheet(method.spec, *patch_tiles(subject)),
        heads_sheet(method.spec, head_names(method), rows),
    ]


def patch_tiles(subject: Subject) -> tuple[list[Tile], list[Tile]]:
    """Patches of the first training batches, up to PATCHES around boxes and of salient images."""
    spec = subject.recipe.boxcaseg
    tiles: dict[bool, list[Tile]] = {False: [], True: []}
    for (batch,) in islice(patch_batches(subject.recipe, subject.root, subject.salient), BATCHES):
        images = _colours(batch, spec.normalise)
        for image, label, kind in zip(images, batch.labels, batch.salient.tolist(), strict=True):
            tiles[kind].append(patch_tile(image, label.numpy() > ON, kind, spec.salient_bags))
        if all(len(tiles[kind]) >= PATCHES for kind in (False, True) if not kind or subject.salient):
            break
    return tiles[False][:PATCHES], tiles[True][:PATCHES]


def patch_tile(image: np.ndarray, label: np.ndarray, salient: bool, bags: str) -> Tile:
    """Figure 3: a patch with its label; beside it the bags of its rows, above it those of its columns.

    image: S x S x 3 uint8; label: S x S bool, a mask where the patch is salient, else a box.
    Which bags are positive follows `wsis.methods.boxcaseg.losses.mil_loss`.
    """
    side, strip = len(image), round(STRIP * len(image))
    before = strip + -(-side // 100)  # and a gap
    rows, columns = label.any(1), label.any(0)
    if salient and bags == "box":
        rows, columns = _spanned(rows), _spanned(columns)
    pixels = np.full((before + side, before + side, 3), canvas.GROUND, np.uint8)
    if salient:
        image = canvas.outlined(image, label, canvas.ORIGINAL, -(-side // 80))
    pixels[before:, before:] = image
    bag = np.array([canvas.BACKGROUND, canvas.PASTED], np.uint8)
    pixels[before:, :strip] = bag[rows.astype(int)][:, None]
    pixels[:strip, before:] = bag[columns.astype(int)][None]
    marks = []
    if not salient and label.any():
        (y, x), (bottom, right) = np.argwhere(label).min(0) + before, np.argwhere(label).max(0) + before
        marks.append(Box((x, y, right + 1, bottom + 1), canvas.ORIGINAL, 3))
    return Tile(pixels, None, marks)


def _spanned(lines: np.ndarray) -> np.ndarray:
    """All lines from the first True to the last."""
    return np.maximum.accumulate(lines) & np.maximum.accumulate(lines[::-1])[::-1]


def _colours(batch: PatchBatch, rule: str) -> np.ndarray:
    """B x S x S x 3 uint8: what `normalise_patch` took; salient ones, by rule "two", over their largest."""
    colours = batch.images.new_tensor
    plain = batch.images + colours(BOX_MEAN)[:, None, None]
    other = batch.images * colours(IMAGENET_STD)[:, None, None] + colours(IMAGENET_MEAN)[:, None, None]
    of_box = (~batch.salient & (rule == "two"))[:, None, None, None]
    shares = torch.where(of_box, plain, other).clamp(0, 1)
    return (255 * shares).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def patches_sheet(spec: Any, boxes: Sequence[Tile], salient: Sequence[Tile]) -> Sheet:
    """Patches around boxes, and below them those of salient images."""
    inside = "; a positive bag's pixels are those inside the box's other side" if spec.bags == "box" else ""
    of = "the box around the mask" if spec.salient_bags == "box" else "the mask"
    shift = "half the size" if spec.shift == "half" else "the size"
    learnt = f" On salient images {of} decides which are positive, and its pixels are learnt (Eq. 3)."
    return Sheet(
        name="patches",
        title="Patches and their bags",
        rows=wrapped(boxes, COLUMNS, "around a box, jittered")
        + wrapped(salient, COLUMNS, "of a salient image"),
        headings=[],
        legend=[
            Key("positive bag: a row or column with the object", [canvas.PASTED]),
            Key("negative bag", [canvas.BACKGROUND]),
            Key("label: the box, or the outline of the mask", [canvas.ORIGINAL]),
        ],
        caption=(
            f"As in Figure 3: {len(boxes)} patches around annotated boxes and {len(salient)} of salient"
            " images, from the first training batches. A box is moved by up to a quarter of"
            f" {shift} and scaled by 0.5 to 1.5 before it is cut out. The marks beside a patch are the bags"
            f" of Eq. 1: each row and column is one{inside}.{learnt if salient else ''}"
        ),
        alt=f"{len(boxes) + len(salient)} training patches with their positive rows and columns",
        absent="there is no patch",
    )


@torch.no_grad()
def head_rows(method: nn.Module, pictures: Sequence[Picture], names: Sequence[str]) -> list[Row]:
    """Maps, mask and true mask of the chosen objects, cut out and filled as in `predict_boxes`."""
    rows = []
    for number, (picture, shown) in enumerate(choose(pictures, IMAGES), 1):
        image = read_image(picture.path, picture.height, picture.width)
        for instance in (picture.instances[index] for index in shown):
            box = pixel_box(instance.box, picture.height, picture.width)
            if box is not None:
                truth = decode_mask(instance.segmentation, picture.height, picture.width)
                tiles = head_tiles(method, image, box, truth)
                rows.append(Row(tiles, names[instance.label], f"image {number}"))
    return rows


def head_tiles(
    method: nn.Module, image: np.ndarray, box: tuple[int, int, int, int], truth: np.ndarray
) -> list[Tile]:
    """An object, what each head makes of its box, the mask that follows, and the true one: h x w bool."""
    spec, (x0, y0, x1, y1) = method.spec, box
    window = canvas.window_around(image.shape, box, factor=1.25, least=8, whole=0)
    patch = torch.tensor(crop_patch(image, box, spec.side)).permute(2, 0, 1)[None]
    logits = head_logits(method, normalise_patch(patch, False, spec.normalise))
    tiles = [Tile(image, window, [Box(box, canvas.ORIGINAL)])]
    for of_head in logits.values():
        pixels = np.full_like(image, canvas.EMPTY)
        pixels[y0:y1, x0:x1] = canvas.heat(in_box(of_head[0].float().sigmoid(), y1 - y0, x1 - x0).numpy())
        tiles.append(Tile(pixels, window))
    mask = np.zeros(image.shape[:2], bool)
    mask[y0:y1, x0:x1] = fill_box(list(logits.values())[-1][0], y1 - y0, x1 - x0).numpy()
    iou = (mask & truth).sum() / max((mask | truth).sum(), 1)
    outline, words = Box(box, canvas.INK), Box(box, canvas.WHITE, 0, text=f"IoU {iou:.2f}")
    tiles.append(Tile(canvas.three_labels(mask), window, [outline, words]))
    return [*tiles, Tile(canvas.three_labels(truth), window, [outline])]


def head_names(method: nn.Module) -> list[str]:
    """The heads that a network has; what makes its masks comes last."""
    names = [name for name in ("weak", "salient", "transferred") if getattr(method, name) is not None]
    return [*names, "fused"] if {"salient", "transferred"} <= {*names} else names


def head_logits(method: nn.Module, patches: Tensor) -> dict[str, Tensor]:
    """The logits of each of `head_names` for normalised patches, B x H x W."""
    features = method.backbone(patches)
    logits = {
        "weak": lambda: method.weak(features),
        "salient": lambda: method.salient(features),
        "transferred": lambda: method.transferred(features, method.weak),
        "fused": lambda: method.logits(features),
    }
    return {name: logits[name]() for name in head_names(method)}


def heads_sheet(spec: Any, names: Sequence[str], rows: Sequence[Row]) -> Sheet:
    """What each head makes of an object's box, the mask that follows, and the true one; a row an object."""
    listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    fused = ""
    if "fused" in names:
        mixed = "logits" if spec.fusion == "logits" else "probabilities"
        fused = f" ({mixed}: {spec.alpha:g} of salient, {1 - spec.alpha:g} of transferred; Eq. 3)"
    return Sheet(
        name="heads",
        title="Maps of the heads",
        rows=rows,
        headings=[
            ("image", "box"),
            *((name, "probability") for name in names),
            ("mask", "stretched, above 1/2"),
            ("ground truth", "never seen"),
        ],
        legend=[Bar("0", "1"), Key("outside the box nothing is predicted", [canvas.EMPTY])],
        caption=(
            f"{len(rows)} objects of {len({row.group for row in rows})} evaluation images, those with"
            f" overlapping objects of one class first. Probabilities in the given box, of {listed}{fused}."
            f" The mask is cut from '{names[-1]}' at one half, after it is stretched to [0, 1]. The ground"
            " truth is shown for comparison only."
        ),
        alt=f"Maps of {listed}, mask and ground truth of {len(rows)} objects",
        absent="no evaluation image has an object that is large enough to be seen",
    )
