"""BoxInst's losses on Mask2Former (SIM, Sec. 4.1: they replace its pixelwise mask losses)."""

from __future__ import annotations

from torch import Tensor

from wsis.data.structures import Batch
from wsis.methods.boxinst.method import BoxLosses
from wsis.methods.mask2former.method import Mask2Former
from wsis.methods.mask_predictions import MaskPredictions


class BoxInstQueries(BoxLosses, Mask2Former):
    """Mask2Former's network and inference, with masks learnt from boxes."""

    def mask_losses(
        self, batch: Batch, masks: MaskPredictions, features: Tensor | None = None
    ) -> dict[str, Tensor]:
        """loss_proj and loss_pair, summed over the decoder's predictions."""
        losses = super().mask_losses(batch, masks, features)
        return {name: self.predictions * loss for name, loss in losses.items()}
