"""SIM's online weakly-supervised copy-paste (Sec. 3.3 and 6.1): objects of the bank pasted onto a batch.

Which objects, what is copied and what becomes of the annotation is settled on the CPU; only the copied pixels
travel to the batch's device.

Shapes: B images, N objects of an image, K pasted ones of an image, h x w pixels of an image without padding,
H x W mask grid of the batch, R x C pixels of the patch that holds all that is pasted onto an image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsis.data.structures import Batch, Targets, sent
from wsis.errors import WsisError
from wsis.losses.projection import grid_rectangles
from wsis.methods.sim.bank import Bank, Entry, unpack
from wsis.methods.sim.spec import SimSpec

SMALLEST = 4  # cells; a pasted object that shows less is left out (the paper is silent)


@dataclass
class Composite:
    """A batch after pasting.

    batch:   X_paste: the same frame, padding, scales and ids; its targets are what remains of the originals,
             then the pasted objects. The batch itself where nothing was pasted
    pasted:  one N bool an image on the CPU, which of its targets are pasted (the indicator of Eq. 9)
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
    patches: list[Patch | None] = [None] * len(batch.targets)
    if bank.full:
        chosen = (torch.rand(len(patches), generator=generator) < spec.paste_probability).tolist()
        for image in (i for i, yes in enumerate(chosen) if yes):
            entry = bank.draw(generator)
            objects = draw_objects(entry.scores, spec, generator)
            patches[image] = cut_out(entry, objects, batch.sizes[image], stride, spec)
    touched = torch.tensor([patch is not None for patch in patches])
    composite = _paste(batch, patches, spec.visible) if touched.any() else batch
    added = [0 if patch is None else len(patch.labels) for patch in patches]
    totals = [len(target.labels) for target in composite.targets]
    flags = [row >= total - new for total, new in zip(totals, added, strict=True) for row in range(total)]
    pasted = torch.tensor(flags, dtype=torch.bool).split(totals)
    grid = [-(-side // stride) for side in batch.images.shape[-2:]]
    masks = torch.zeros(len(flags), *grid, dtype=torch.bool)
    for of_image, patch in zip(masks.split(totals), patches, strict=True):
        if patch is not None:
            cells = patch.cells[:, : grid[0], : grid[1]]
            of_image[-len(cells) :, : cells.shape[1], : cells.shape[2]] = cells
    return Composite(composite, list(pasted), list(sent(masks, batch.images.device).split(totals)), touched)


def draw_objects(scores: Tensor, spec: SimSpec, generator: torch.Generator) -> Tensor:
    """Importance sampling of the objects of an entry: K int64 in the order of drawing.

    Each draw takes an object in proportion to S^power, from those left or, with `replacement`, from all. A
    `share` of the N objects, rounded up (down with `replacement`, as the released code does, S14), 1 to
    `max_objects` of them.

    Args:
        scores: N float above zero, N > 0
        generator: on the CPU
    """
    part = round(spec.share * len(scores), 6)  # so that .1 x 30 objects aren't 4
    count = math.floor(part) if spec.replacement else math.ceil(part)
    count = min(max(count, 1), spec.max_objects, len(scores))
    return torch.multinomial(scores.double() ** spec.power, count, spec.replacement, generator=generator)


def cut_out(entry: Entry, objects: Tensor, size: tuple[int, int], stride: int, spec: SimSpec) -> Patch | None:
    """What of the drawn objects (K int64) can be pasted onto an image of h x w = `size`; None for nothing.

    The mask on the grid, enlarged bilinearly and cut at 0.5, says which pixels are copied. An object drawn
    later covers an earlier one, but not its own copy. Left out are objects that reach over the image's frame
    and those that show fewer than SMALLEST cells.
    """
    names, (height, width) = objects.numpy(), size
    cells = unpack(entry.masks[objects], entry.size).numpy()
    y0, y1 = _extent(cells.any((0, 2)))
    x0, x1 = _extent(cells.any((0, 1)))
    y0, x0 = max(y0 - 1, 0), max(x0 - 1, 0)  # a cell more, which the enlargement looks at
    window = torch.from_numpy(cells[:, y0 : y1 + 1, x0 : x1 + 1])[None].float()
    soft = F.interpolate(window, scale_factor=stride, mode="bilinear", align_corners=False)[0]
    top, left = y0 * stride, x0 * stride
    source = entry.image[:, top:, left:]
    pixels = (soft >= 0.5).numpy()[:, : source.shape[1], : source.shape[2]]
    rows, columns = max(height - top, 0), max(width - left, 0)  # of the patch inside the frame
    over = pixels[:, rows:].any((1, 2)) | pixels[:, :, columns:].any((1, 2))
    pixels = pixels[:, :rows, :columns]

    kept, shown = [], []
    for k in np.flatnonzero(~over)[::-1]:
        later = [j for j in kept if names[j] != names[k]]
        visible = cells[k] & ~cells[later].any(0)
        if visible.sum() >= SMALLEST:
            kept.append(k)
            shown.append((visible, pixels[k] & ~pixels[later].any(0)))
    if not kept:
        return None
    visible_cells, visible_pixels = (np.stack(parts) for parts in zip(*shown[::-1], strict=True))
    chosen = entry.chosen(objects[kept[::-1]])
    if spec.paste_boxes == "tight":
        boxes = [_tight_box(mask) + np.array([left, top, left, top]) for mask in visible_pixels]
        boxes = torch.from_numpy(np.stack(boxes)).float()
    else:
        boxes = chosen.boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
    pixels = torch.from_numpy(visible_pixels.any(0))
    colours = source[:, : pixels.shape[0], : pixels.shape[1]]
    return Patch((top, left), colours, pixels, boxes, chosen.labels, torch.from_numpy(visible_cells))


def _paste(batch: Batch, patches: list[Patch | None], visible: float) -> Batch:
    """The batch with a patch pasted onto some of its images, and the targets that this leaves and adds."""
    images, targets = batch.images.clone(), list(batch.targets)
    for image, patch in enumerate(patches):
        if patch is not None:
            (top, left), (rows, columns) = patch.corner, patch.pixels.shape
            place = (..., slice(top, top + rows), slice(left, left + columns))
            copied, over = sent(patch.pixels, images.device), sent(patch.colours, images.device)
            images[image][place] = torch.where(copied, over, images[image][place])
            covered = torch.zeros(1, *images.shape[-2:], dtype=torch.bool)
            covered[place] = patch.pixels
            (boxes,), (kept,) = trim(targets[image : image + 1], covered, visible)
            targets[image] = Targets(
                torch.cat([boxes[kept], patch.boxes]), torch.cat([targets[image].labels[kept], patch.labels])
            )
    return replace(batch, images=images, targets=targets)


def trim(targets: list[Targets], covered: Tensor, visible: float) -> tuple[list[Tensor], list[Tensor]]:
    """Original boxes after pasting: tight around the pixels that aren't pasted over.

    A side that loses nothing stays where it was. An object is taken to fill its box, as its mask isn't known.

    Args:
        targets: of the B images, in which no box reaches over the image
        covered: B x height x width bool of the padded frame, pixels pasted over; on the CPU
        visible: smallest share of its pixels that a box must keep

    Returns:
        For each image its N x 4 float32 boxes, and N bool: which are to be kept.
    """
    counts = [len(target.boxes) for target in targets]
    image = torch.repeat_interleave(torch.tensor(counts))
    boxes = torch.cat([target.boxes for target in targets])
    rectangles = grid_rectangles(boxes, 1, *covered.shape[1:])
    x0, y0, x1, y1 = rectangles.unbind(1)
    columns = _uncovered(covered, image, x0, x1, y0, y1)
    rows = _uncovered(covered.mT, image, y0, y1, x0, x1)
    left, right = _extents(columns > 0)
    top, bottom = _extents(rows > 0)
    tight = torch.stack([left, top, right, bottom], 1)
    trimmed = torch.where(tight == rectangles, boxes, tight.to(boxes.dtype))
    remaining, whole = columns.sum(1), (x1 - x0) * (y1 - y0)
    kept = (remaining > 0) & (remaining >= visible * whole)
    return list(trimmed.split(counts)), list(kept.split(counts))


def _uncovered(covered: Tensor, image: Tensor, x0: Tensor, x1: Tensor, y0: Tensor, y1: Tensor) -> Tensor:
    """Pixels of each column that are in a rectangle and not covered: G x width int64, G rectangles."""
    sums = F.pad(covered.cumsum(1, dtype=torch.int32), (0, 0, 1, 0))  # of the rows above
    count = (y1 - y0)[:, None] - (sums[image, y1] - sums[image, y0])
    x = torch.arange(covered.shape[2], device=covered.device)
    return count * ((x >= x0[:, None]) & (x < x1[:, None]))


def _extents(lit: Tensor) -> tuple[Tensor, Tensor]:
    """First and last + 1 true position of each row: G x L bool -> two G int64; 0 and L where none is true."""
    lit = lit.to(torch.uint8)
    return lit.argmax(1), lit.shape[1] - lit.flip(1).argmax(1)


def _extent(lit: np.ndarray) -> tuple[int, int]:
    """First and last + 1 true position of L bool."""
    where = np.flatnonzero(lit)
    return int(where[0]), int(where[-1]) + 1


def _tight_box(pixels: np.ndarray) -> np.ndarray:
    """R x C bool, not empty -> x0 y0 x1 y1."""
    (x0, x1), (y0, y1) = _extent(pixels.any(0)), _extent(pixels.any(1))
    return np.array([x0, y0, x1, y1])
