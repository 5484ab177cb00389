"""BAISeg's semantic loss (Sec. 3.5; erratum semantic-branch): cross entropy of the hardest pixels.

Shapes: B images, H x W pixels, C classes without background.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wsis.methods.baiseg.boundary_loss import VOID


def hardest_pixels(semantic: Tensor, hardest: float) -> Tensor:
    """How many pixels `semantic_loss` takes the mean over: scalar float64 on the maps' device."""
    known = (semantic != VOID).sum()
    return (hardest * known.double()).round().clamp(min=1).minimum(known)


def semantic_loss(logits: Tensor, semantic: Tensor, hardest: float) -> Tensor:
    """L_S: mean cross entropy of the batch's valid pixels with the largest, a share `hardest` of them.

    The share is rounded to whole pixels, at least one; void pixels are neither used nor counted.

    Args:
        logits: B x (C + 1) x H x W float, of any precision; channel 0 is background
        semantic: B x H x W uint8, 0 background, label + 1, 255 void
        hardest: in (0, 1]; 1 is the plain mean

    Returns:
        Scalar float32; zero with a gradient path without valid pixels.
    """
    loss = F.cross_entropy(logits.float(), semantic.long(), ignore_index=VOID, reduction="none").flatten()
    if loss.numel() == 0:
        return logits.float().sum()
    keep = hardest_pixels(semantic, hardest)
    most = max(1, round(hardest * loss.numel()))  # known without asking the device how many are valid
    top = loss.topk(most).values  # void pixels have 0, the least there is
    kept = torch.arange(most, device=top.device) < keep
    return top.masked_fill(~kept, 0.0).sum() / keep.clamp(min=1).float()
