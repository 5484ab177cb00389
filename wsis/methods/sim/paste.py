"""SIM's online weakly-supervised copy-paste (Sec. 3.3 and 6.1): objects of the bank pasted onto a batch.

Which objects, what is copied and what becomes of the annotation is settled on the CPU; only the copied pixels
and the new annotation travel to the batch's device.

Shapes: B images, N objects of an image, K pasted ones of an image, h x w pixels of an image without padding,
H x W mask grid of the batch, R x C pixels of the patch that holds all that is pasted onto an image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from wsis.data.structures import Batch, Targets
from wsis.declare.recipe import SimSpec
from wsis.errors import WsisError
from wsis.losses.projection import grid_rectangles
from wsis.methods.sim.bank import Bank, Entry, image_sizes, unpack

SMALLEST = 4  # cells; a pasted object that shows less is left out (the paper is silent)


@dataclass
class Composite:
    """A batch after pasting.

    batch:   X_paste: the same frame, padding, scales and ids; its targets are what remains of the originals,
             then the pasted objects. The batch itself where nothing was pasted
    pasted:  one N bool an image, which of its targets are pasted (the indicator of Eq. 9)
    masks:   one N x H x W bool an image, masks of the pasted targets on the grid; False for all others
    touched: B bool on the CPU, whether anything was pasted onto the image
    """

    batch: Batch
    pasted: list[Tensor]
    masks: list[Tensor]
    touched: Tensor


@dataclass
class Patch:
    """What is pasted onto one image, on the CPU; `corner` (y, x) is where the patch lies in the image.

    colours: 3 x R x C uint8; pixels: R x C bool, those that are copied; boxes: K x 4 float32 in the image;
    labels: K int64; cells: K x rows x columns bool on the source's grid, which starts at the same corner
    """

    corner: tuple[int, int]
    colours: Tensor
    pixels: Tensor
    boxes: Tensor
    labels: Tensor
    cells: Tensor


def compose(batch: Batch, bank: Bank, spec: SimSpec, stride: int, generator: torch.Generator) -> Composite:
    """Paste objects of the bank onto some images of a batch; nothing until the bank is full.

    An image is chosen with probability `paste_probability` and gets objects of one entry, at the place and
    size they have there. `batch` isn't changed.

    Args:
        batch: B images on any device; boxes only
        stride: s, pixels a cell of the grid
        generator: of this step, on the CPU

    Raises WsisError if the batch has masks: those of partly covered objects would be wrong.
    """
    if any(target.masks is not None for target in batch.targets):
        raise WsisError(
            "SIM's copy-paste works on boxes, but the training data come with masks; "
            "set data.supervision to boxes"
        )
    patches, sizes = [None] * len(batch.targets), []
    if bank.full:
        chosen = (torch.rand(len(patches), generator=generator) < spec.paste_probability).tolist()
        sizes = image_sizes(batch) if any(chosen) else []
        for image in (i for i, yes in enumerate(chosen) if yes):
            entry = bank.draw(generator)
            objects = draw_objects(entry.scores, spec, generator)
            patches[image] = cut_out(entry, objects, sizes[image], stride, spec)
    touched = torch.tensor([patch is not None for patch in patches])
    composite = batch
    if touched.any():
        composite = replace(batch, images=batch.images.clone(), targets=list(batch.targets))
    grid = [-(-side // stride) for side in batch.images.shape[-2:]]
    pasted, masks = [], []
    for image, patch in enumerate(patches):
        if patch is not None:
            _paint(composite.images[image], patch)
            composite.targets[image] = _annotate(batch.targets[image], patch, sizes[image], spec.visible)
        labels = composite.targets[image].labels
        first = len(labels) - (0 if patch is None else len(patch.labels))  # of the pasted objects
        pasted.append(torch.arange(len(labels), device=labels.device) >= first)
        masks.append(torch.zeros(len(labels), *grid, dtype=torch.bool, device=labels.device))
        if patch is not None:
            cells = patch.cells[:, : grid[0], : grid[1]]
            masks[image][first:, : cells.shape[1], : cells.shape[2]] = cells.to(labels.device)
    return Composite(composite, pasted, masks, touched)


def draw_objects(scores: Tensor, spec: SimSpec, generator: torch.Generator) -> Tensor:
    """Importance sampling of the objects of an entry: K int64 in the order of drawing.

    Each draw takes an object in proportion to S^power, from those left or, with `replacement`, from all. A
    `share` of the N objects, rounded up (down with `replacement`, as the released code does, S14), 1 to
    `max_objects` of them.

    Args:
        scores: N float above zero, N > 0
    """
    part = round(spec.share * len(scores), 6)  # so that .1 x 30 objects aren't 4
    count = math.floor(part) if spec.replacement else math.ceil(part)
    count = min(max(count, 1), spec.max_objects, len(scores))
    return torch.multinomial(scores.double() ** spec.power, count, spec.replacement, generator=generator)


def cut_out(entry: Entry, objects: Tensor, size: tuple[int, int], stride: int, spec: SimSpec) -> Patch | None:
    """What of the drawn objects can be pasted onto an image of h x w = `size`; None where nothing can.

    The mask on the grid, enlarged bilinearly and cut at 0.5, says which pixels are copied. An object drawn
    later covers an earlier one, but not its own copy. Left out are objects that reach over the image's frame
    and those that show fewer than SMALLEST cells.
    """
    cells = unpack(entry.masks[objects], entry.size)
    y0, y1 = _extent(cells.any(2).any(0))
    x0, x1 = _extent(cells.any(1).any(0))
    y0, x0 = max(y0 - 1, 0), max(x0 - 1, 0)  # a cell more, which the enlargement looks at
    window = cells[:, y0 : y1 + 1, x0 : x1 + 1]
    soft = F.interpolate(window[None].float(), scale_factor=stride, mode="bilinear", align_corners=False)[0]
    top, left = y0 * stride, x0 * stride
    source = entry.image[:, top:, left:]
    pixels = (soft >= 0.5)[:, : source.shape[1], : source.shape[2]]
    rows, columns = max(size[0] - top, 0), max(size[1] - left, 0)  # of the patch inside the frame
    over = pixels[:, rows:].flatten(1).any(1) | pixels[:, :, columns:].flatten(1).any(1)
    pixels = pixels[:, :rows, :columns]

    names, kept, shown = objects.tolist(), [], []
    for k in (~over).nonzero().flatten().tolist()[::-1]:
        later = [j for j in kept if names[j] != names[k]]
        visible = cells[k] & ~cells[later].any(0)
        if visible.sum() >= SMALLEST:
            kept.append(k)
            shown.append((visible, pixels[k] & ~pixels[later].any(0)))
    if not kept:
        return None
    kept, shown = kept[::-1], shown[::-1]
    visible_cells, visible_pixels = (torch.stack(parts) for parts in zip(*shown, strict=True))
    if spec.paste_boxes == "tight":
        boxes = _tight_boxes(visible_pixels) + torch.tensor([left, top, left, top])
    else:
        height, width = size
        frame = torch.tensor([width, height, width, height])
        boxes = entry.boxes[objects[kept]].clamp(min=0).minimum(frame)
    painted = visible_pixels.any(0)
    colours = source[:, : painted.shape[0], : painted.shape[1]]
    labels = entry.labels[objects[kept]]
    return Patch((top, left), colours, painted, boxes.float(), labels, visible_cells)


def trim(boxes: Tensor, patch: Patch, size: tuple[int, int], visible: float) -> tuple[Tensor, Tensor]:
    """Original boxes after pasting: tight around the pixels that aren't pasted over.

    A side that loses nothing stays where it was. An object is taken to fill its box, as its mask isn't known.

    Args:
        boxes: N x 4 float32 on the CPU
        size: h, w of the image
        visible: smallest share of its pixels that a box must keep

    Returns:
        K x 4 float32 boxes, and K int64, which of the N they are: those not removed.
    """
    rectangles = grid_rectangles(boxes, 1, *size)
    x0, y0, x1, y1 = rectangles.unbind(1)
    columns = _uncovered(patch.pixels, patch.corner, x0, x1, y0, y1, size[1])
    rows = _uncovered(patch.pixels.T, patch.corner[::-1], y0, y1, x0, x1, size[0])
    left, right = _extents(columns > 0)
    top, bottom = _extents(rows > 0)
    tight = torch.stack([left, top, right, bottom], 1)
    trimmed = torch.where(tight == rectangles, boxes, tight.to(boxes.dtype))
    remaining, whole = columns.sum(1), (x1 - x0) * (y1 - y0)
    kept = ((remaining > 0) & (remaining >= visible * whole)).nonzero().flatten()
    return trimmed[kept], kept


def _annotate(target: Targets, patch: Patch, size: tuple[int, int], visible: float) -> Targets:
    """Targets of an image with a patch: originals that remain, then the pasted objects."""
    boxes, kept = trim(target.boxes.cpu(), patch, size, visible)
    device = target.boxes.device
    labels = target.labels[kept.to(device)]
    return Targets(torch.cat([boxes, patch.boxes]).to(device), torch.cat([labels, patch.labels.to(device)]))


def _paint(image: Tensor, patch: Patch) -> None:
    """Copy the patch's pixels into an image (3 x ... uint8), in place."""
    (top, left), (rows, columns) = patch.corner, patch.pixels.shape
    place = image[:, top : top + rows, left : left + columns]
    place.copy_(torch.where(patch.pixels.to(image.device), patch.colours.to(image.device), place))


def _uncovered(
    pixels: Tensor, corner: tuple[int, int], x0: Tensor, x1: Tensor, y0: Tensor, y1: Tensor, width: int
) -> Tensor:
    """Pixels of each column that are in a rectangle and not in a patch: N x `width` int64."""
    top, left = corner
    sums = F.pad(pixels.cumsum(0, dtype=torch.int32), (0, 0, 1, 0))  # R + 1 x C: of the rows above
    last = pixels.shape[0]
    covered = sums[(y1 - top).clamp(0, last)] - sums[(y0 - top).clamp(0, last)]
    count = (y1 - y0)[:, None].repeat(1, width)
    count[:, left : left + pixels.shape[1]] -= covered
    x = torch.arange(width)
    return count * ((x >= x0[:, None]) & (x < x1[:, None]))


def _extents(lit: Tensor) -> tuple[Tensor, Tensor]:
    """First and last + 1 true position of each row: N x L bool -> two N int64; 0 and L where none is true."""
    lit = lit.int()
    return lit.argmax(1), lit.shape[1] - lit.flip(1).argmax(1)


def _extent(lit: Tensor) -> tuple[int, int]:
    """First and last + 1 true position of L bool."""
    first, last = _extents(lit[None])
    return int(first), int(last)


def _tight_boxes(pixels: Tensor) -> Tensor:
    """K x R x C bool, none empty -> K x 4 int64."""
    (left, right), (top, bottom) = _extents(pixels.any(1)), _extents(pixels.any(2))
    return torch.stack([left, top, right, bottom], 1)
