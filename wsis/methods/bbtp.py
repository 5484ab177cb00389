"""BBTP: Mask R-CNN whose masks come from the tightness of boxes (Hsu et al., NeurIPS 2019).

Every row and column of an object's box crosses the object, those outside it don't: multiple-instance
learning (MIL) over the lines of each RoI's mask, and a smoothness term.

Shapes: K RoIs, M x M mask cells of a RoI.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wsis.methods.mask_rcnn.method import MaskRCNN
from wsis.methods.mask_rcnn.roi_heads import MaskRoIHeads

SMOOTH = 0.05  # weight of the pairwise term against the mean over bags, as released


class TightnessRoIHeads(MaskRoIHeads):
    """Heads whose mask loss reads boxes only: every positive RoI takes part."""

    def supervised(self, target: dict[str, Tensor]) -> Tensor:
        return torch.ones_like(target["labels"], dtype=torch.bool)

    def mask_loss(
        self, logits: Tensor, rois: list[Tensor], owners: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> Tensor:
        """Mean of the bags' cross-entropy plus 0.05 times the smoothness term."""
        boxes = torch.cat([t["boxes"][owner] for t, owner in zip(targets, owners, strict=True)])
        columns, rows = box_lines(boxes, torch.cat(rois), logits.shape[-1])
        return tightness_loss(logits, columns, rows) + SMOOTH * neighbour_loss(logits)


class BBTP(MaskRCNN):
    """Mask R-CNN's network and inference; only the mask loss differs."""

    roi_heads_type = TightnessRoIHeads
    needs_masks = False


def box_lines(boxes: Tensor, rois: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Which columns and rows of a RoI's grid cross the object's box: those whose centre line does.

    boxes, rois: K x 4 xyxy in one frame -> K x M and K x M bool. A positive RoI overlaps its box by half or
    more, so it has positive lines.
    """
    centres = (torch.arange(side, device=rois.device) + 0.5) / side
    low, high = rois[:, None, :2], rois[:, None, 2:]
    centres = low + (high - low) * centres[None, :, None]  # K x M x 2: x of the columns, y of the rows
    inside = (centres >= boxes[:, None, :2]) & (centres < boxes[:, None, 2:])
    return inside[:, :, 0], inside[:, :, 1]


def tightness_loss(logits: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """MIL over the 2 M lines of each RoI: mean binary cross-entropy of the lines' greatest logits.

    A line that crosses the box is a positive bag of its cells inside the box; one outside is a negative bag
    of all its cells (Hsu et al.; BoxCaseg, Sec. 3.1).

    Args:
        logits: K x M x M float32 (row, column); columns, rows: K x M bool (`box_lines`)
    """
    lowest = torch.finfo(logits.dtype).min
    in_columns, in_rows = columns[:, None, :], rows[:, :, None]
    of_rows = logits.masked_fill(in_rows & ~in_columns, lowest).amax(2)  # cells beside the box are left out
    of_columns = logits.masked_fill(in_columns & ~in_rows, lowest).amax(1)
    bags, positive = torch.cat([of_columns, of_rows], 1), torch.cat([columns, rows], 1)
    return F.binary_cross_entropy_with_logits(bags, positive.to(bags))


def neighbour_loss(logits: Tensor) -> Tensor:
    """Mean squared difference of the probabilities of eight-connected cells: K x M x M -> scalar."""
    p = logits.sigmoid()
    pairs = (
        p[:, :, 1:] - p[:, :, :-1],
        p[:, 1:] - p[:, :-1],
        p[:, 1:, 1:] - p[:, :-1, :-1],
        p[:, 1:, :-1] - p[:, :-1, 1:],
    )
    return torch.cat([d.flatten() for d in pairs]).square().mean()
