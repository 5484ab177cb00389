"""BBTP: Mask R-CNN whose masks come from the tightness of boxes (Hsu et al., NeurIPS 2019).

Every row and column of an object's box crosses the object, those outside it don't: multiple-instance
learning (MIL) over the lines of each RoI's mask, and a smoothness term.

Shapes: K RoIs, M x M mask cells of a RoI.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wsis.data.structures import sent
from wsis.methods.boxcaseg.losses import mil_loss, smoothness
from wsis.methods.mask_rcnn.method import MaskRCNN
from wsis.methods.mask_rcnn.roi_heads import MaskRoIHeads

SMOOTH = 0.05  # weight of the pairwise term against the mean over bags, as released


class TightnessRoIHeads(MaskRoIHeads):
    """Heads whose mask loss reads boxes only: every positive RoI takes part."""

    def supervised(self, target: dict[str, Tensor]) -> Tensor:
        return torch.ones(len(target["labels"]), dtype=torch.bool)

    def mask_loss(
        self, logits: Tensor, rois: list[Tensor], owners: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> Tensor:
        """Mean cross-entropy of the 2 M bags of each RoI, plus 0.05 times the smoothness term.

        A row or column that crosses the box is a positive bag of its cells inside the box; one outside is a
        negative bag of all its cells (Hsu et al.; BoxCaseg, Sec. 3.1).
        """
        device = logits.device
        boxes = torch.cat([t["boxes"][sent(owner, device)] for t, owner in zip(targets, owners, strict=True)])
        cells = box_cells(boxes, torch.cat(rois), logits.shape[-1]).to(logits)
        boxed = torch.zeros(len(logits), dtype=torch.bool)
        return mil_loss(logits, cells, boxed, bags="box") + SMOOTH * smoothness(logits)


class BBTP(MaskRCNN):
    """Mask R-CNN's network and inference; only the mask loss differs."""

    roi_heads_type = TightnessRoIHeads
    needs_masks = False


def box_cells(boxes: Tensor, rois: Tensor, side: int) -> Tensor:
    """The cells of each RoI's grid whose centre lies in the object's box, a rectangle: K x M x M bool.

    boxes, rois: K x 4 xyxy in one frame. A positive RoI overlaps its box by half or more, so that some rows
    and columns of its grid cross the box.
    """
    centres = (torch.arange(side, device=rois.device) + 0.5) / side
    low, high = rois[:, None, :2], rois[:, None, 2:]
    centres = low + (high - low) * centres[None, :, None]  # K x M x 2: x of the columns, y of the rows
    inside = (centres >= boxes[:, None, :2]) & (centres < boxes[:, None, 2:])
    return inside[:, :, None, 1] & inside[:, None, :, 0]
