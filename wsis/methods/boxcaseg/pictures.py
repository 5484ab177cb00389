"""What a trained BoxCaseg learns from and makes of a few objects, as sheets of pictures.

Shapes: S patch side, B patches of a batch, H x W grid of the logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsis.data.roots import Picture, Root
from wsis.data.salient import SalientRoot
from wsis.data.structures import PatchBatch
from wsis.data.transforms import decode_mask, read_image
from wsis.declare.recipe import BoxCasegSpec, Recipe
from wsis.methods.boxcaseg.box_masks import fill_box
from wsis.methods.boxcaseg.crops import (
    BOX_MEAN,
    IMAGENET_MEAN,
    IMAGENET_STD,
    crop_patch,
    normalise_patch,
    pixel_box,
)
from wsis.methods.boxcaseg.losses import ON
from wsis.methods.boxcaseg.patches import patch_batches
from wsis.methods.boxcaseg.sheets import (
    HeadRow,
    PatchTile,
    heads_sheet,
    patches_sheet,
)
from wsis.pictures.canvas import Sheet, save_sheets
from wsis.pictures.choice import choose

PATCHES = 12  # of either kind
BATCHES = 64  # in which they are looked for
IMAGES = 5  # whose objects' maps are shown


def draw_stage1(
    method: nn.Module,
    recipe: Recipe,
    root: Root,
    salient: SalientRoot | None,
    pictures: Sequence[Picture],
    folder: Path,
    whence: str,
) -> list[dict[str, Any]]:
    """Training patches with their bags, and each head's maps of a few objects; see `save_sheets`.

    method:   a trained BoxCaseg
    recipe:   its settled recipe
    root:     its data root, and `salient` its salient images, for the patches
    pictures: evaluation pictures with masks, to choose from
    """
    method.eval()
    spec = recipe.boxcaseg
    tiles = patch_tiles(recipe, root, salient)
    rows = head_rows(method, pictures, root.category_names)
    none = "no evaluation image has an object that is large enough to be seen"
    about_patches, about_heads = partial(_about_patches, spec), partial(_about_heads, spec)
    sheets = [
        Sheet("patches", "Patches and their bags", tiles, patches_sheet, about_patches, "there is no patch"),
        Sheet("heads", "Maps of the heads", rows, heads_sheet, about_heads, none),
    ]
    return save_sheets(sheets, folder, whence)


def patch_tiles(recipe: Recipe, root: Root, salient: SalientRoot | None) -> list[PatchTile]:
    """Patches of the first training batches, up to PATCHES of either kind."""
    found: dict[bool, list[PatchTile]] = {False: [], True: []}
    stream = patch_batches(recipe, root, salient, 0)
    for (batch,) in islice(stream, BATCHES):
        images = _colours(batch, recipe.boxcaseg.normalise)
        for image, label, kind in zip(images, batch.labels, batch.salient.tolist(), strict=True):
            found[kind].append(_patch_tile(image, label.numpy() > ON, kind, recipe.boxcaseg.salient_bags))
        if len(found[False]) >= PATCHES and len(found[True]) >= PATCHES:
            break
        if salient is None and len(found[False]) >= PATCHES:
            break
    return found[False][:PATCHES] + found[True][:PATCHES]


def _patch_tile(image: np.ndarray, label: np.ndarray, salient: bool, bags: str) -> PatchTile:
    """The bags' labels follow `wsis.methods.boxcaseg.losses.mil_loss`."""
    rows, columns = label.any(1), label.any(0)
    if salient and bags == "box":
        rows, columns = (_spanned(lines) for lines in (rows, columns))
    return PatchTile(image, label, salient, rows, columns)


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


@torch.no_grad()
def head_rows(method: nn.Module, pictures: Sequence[Picture], names: Sequence[str]) -> list[HeadRow]:
    """Maps, mask and true mask of the chosen objects, cut out and filled as in `predict_boxes`."""
    rows, spec = [], method.spec
    for number, (picture, shown) in enumerate(choose(pictures, IMAGES), 1):
        image = read_image(picture.path, picture.height, picture.width)
        for instance in (picture.instances[index] for index in shown):
            box = pixel_box(instance.box, picture.height, picture.width)
            if box is None:
                continue
            x0, y0, x1, y1 = box
            patch = torch.tensor(crop_patch(image, box, spec.side)).permute(2, 0, 1)[None]
            logits = head_logits(method, normalise_patch(patch, False, spec.normalise))
            maps = {title: _in_box(x[0], y1 - y0, x1 - x0) for title, x in logits.items()}
            mask = np.zeros((picture.height, picture.width), bool)
            mask[y0:y1, x0:x1] = fill_box(list(logits.values())[-1][0], y1 - y0, x1 - x0).numpy()
            truth = decode_mask(instance.segmentation, picture.height, picture.width)
            iou = (mask & truth).sum() / max((mask | truth).sum(), 1)
            name = names[instance.label]
            rows.append(HeadRow(f"image {number}", name, image, np.array(box), maps, mask, truth, float(iou)))
    return rows


def head_logits(method: nn.Module, patches: Tensor) -> dict[str, Tensor]:
    """Head -> its logits of normalised patches, B x H x W; those that make the masks come last."""
    features = method.backbone(patches)
    found = {}
    if method.weak is not None:
        found["weak"] = method.weak(features)
    if method.salient is not None:
        found["salient"] = method.salient(features)
    if method.transferred is not None:
        found["transferred"] = method.transferred(features, method.weak)
    if method.salient is not None and method.transferred is not None:
        found["fused"] = method.masks(patches)
    return found


def _in_box(logits: Tensor, height: int, width: int) -> np.ndarray:
    """Probabilities at the box's size."""
    p = logits.float().sigmoid()[None, None]
    p = F.interpolate(p, size=(height, width), mode="bilinear", align_corners=False, antialias=True)
    return p[0, 0].numpy()


def _about_patches(spec: BoxCasegSpec, tiles: list[PatchTile]) -> tuple[str, str]:
    """Caption and alternative text."""
    boxes, salient = (sum(tile.salient == kind for tile in tiles) for kind in (False, True))
    inside = "; a positive bag's pixels are those inside the box's other side" if spec.bags == "box" else ""
    of = "the box around the mask" if spec.salient_bags == "box" else "the mask"
    shift = "half the size" if spec.shift == "half" else "the size"
    caption = (
        f"As in Figure 3: {boxes} patches around annotated boxes and {salient} of salient images, from the"
        f" first training batches. A box is moved by up to a quarter of {shift} and scaled by 0.5 to 1.5"
        " before it is cut out. The marks beside a patch are the bags of Eq. 1: each row and column is"
        f" one{inside}."
    )
    if salient:
        caption += f" On salient images {of} decides which are positive, and its pixels are learnt (Eq. 3)."
    return caption, f"{len(tiles)} training patches with their positive rows and columns"


def _about_heads(spec: BoxCasegSpec, rows: list[HeadRow]) -> tuple[str, str]:
    images = len({row.group for row in rows})
    names = list(rows[0].maps)
    caption = (
        f"{len(rows)} objects of {images} evaluation images, those with overlapping objects of one class"
        f" first. Probabilities in the given box, of {_listed(names)}"
    )
    if "fused" in names:
        mixed = "logits" if spec.fusion == "logits" else "probabilities"
        caption += f" ({mixed}: {spec.alpha:g} of salient, {1 - spec.alpha:g} of transferred; Eq. 3)"
    caption += (
        f". The mask is cut from '{names[-1]}' at one half, after it is stretched to [0, 1]. The ground truth"
        " is shown for comparison only."
    )
    return caption, f"Maps of {_listed(names)}, mask and ground truth of {len(rows)} objects"


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
