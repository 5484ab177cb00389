"""BoxInst: CondInst with mask losses that need no masks (Tian et al., CVPR 2021).

L_mask = L_proj + L_pairwise (Eq. 6), the latter ramped up. Where masks are given (fully or semi-supervised),
`loss.full` says what is done with them. `variant: paper` follows the equations, `released` the official code;
the differences B1 to B9 of errata.yaml are keys of `loss` and `loss.pairwise`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wsis.data.structures import Batch, sent
from wsis.losses import pairwise
from wsis.losses.colour import ColourEdges, colour_edges, lab_on_grid
from wsis.losses.detection import Positives
from wsis.losses.projection import grid_rectangles, projection_loss
from wsis.methods.condinst.method import CondInst
from wsis.methods.mask_predictions import MaskPredictions, masked_objects
from wsis.methods.parts import Parts


def term_gradients(losses: dict[str, Tensor], logits: Tensor) -> dict[str, Tensor]:
    """Norms of the gradients of L_proj and L_pairwise for the mask logits, and the second over the first.

    Both weigh alike in Eq. 6; how hard the second pulls depends on what it is divided by (erratum b3).
    """
    named = {name: losses[f"loss_{name}"] for name in ("proj", "pair") if f"loss_{name}" in losses}
    norms = {
        f"gradient_{name}": torch.autograd.grad(loss, logits, retain_graph=True)[0].norm()
        for name, loss in named.items()
    }
    if len(norms) == 2:
        norms["pair_to_proj"] = norms["gradient_pair"] / norms["gradient_proj"].clamp(min=1e-12)
    return norms


class BoxLosses(Parts):
    """Mask losses from boxes, whatever the network that the masks come from."""

    def supervised(self, masked: Tensor) -> Tensor:
        """Instances whose kind of annotation has a loss; the others are discarded (Sec. 3.6)."""
        spec = self.recipe.loss
        boxed = spec.projection or spec.pairwise is not None
        return (masked & (spec.full != "none")) | (~masked & boxed)

    def mask_losses(
        self, batch: Batch, masks: MaskPredictions, features: Tensor | None = None
    ) -> dict[str, Tensor]:
        """loss_proj and loss_pair on boxes; loss_dice or both with true edge labels on given masks.

        Every instance of the batch weighs the same, whatever its annotation (the paper is silent). Edges with
        true labels need no warm-up. features: see `wsis.losses.colour.colour_edges`.
        """
        spec, weights = self.recipe.loss, self.recipe.loss.weights
        boxed = ~masks.masked
        losses = {}
        if self.recipe.data.supervision != "boxes" and spec.full == "dice":
            losses["loss_dice"] = self.dice(batch, masks, masks.masked)
        projected = boxed if spec.projection else torch.zeros_like(boxed)
        if spec.full == "proposed":
            projected = projected | masks.masked
            losses["loss_edge"] = weights.pairwise * self.pairwise(
                batch, masks, masks.masked, true_labels=True
            )
        if spec.projection or spec.full == "proposed":
            loss = self.projection(masks, projected) * batch.totals.weight("instances")
            losses["loss_proj"] = weights.projection * loss
        if spec.pairwise is not None:
            loss = self.pairwise(batch, masks, boxed, features=features)
            losses["loss_pair"] = weights.pairwise * self.ramp() * loss
        if self.watched is not None:
            self.watched |= term_gradients(losses, masks.logits)
        return losses

    def projection(self, masks: MaskPredictions, chosen: Tensor) -> Tensor:
        """L_proj (Eq. 3) of the chosen instances (N bool), averaged over all N."""
        if not chosen.any():
            return masks.logits.sum() * 0.0
        part = masks.where(chosen)
        losses = projection_loss(part.logits, self.rectangles(part))
        return (losses * sent(part.weights, losses.device)).sum()

    def pairwise(
        self,
        batch: Batch,
        masks: MaskPredictions,
        chosen: Tensor,
        true_labels: bool = False,
        features: Tensor | None = None,
    ) -> Tensor:
        """L_pairwise of the chosen instances (N bool): Eq. 8, or Eq. 5 when the true labels are known."""
        spec = self.recipe.loss.pairwise
        if not chosen.any():
            return masks.logits.sum() * 0.0
        part = masks.where(chosen)
        loss = pairwise.pairwise_loss(
            part.logits,
            self.rectangles(part),
            part.image,
            self.edges(batch, features),
            spec,
            sent(part.weights, part.logits.device),
            self.target_masks(batch, part) if true_labels else None,
        )
        pooled = "true edges" if true_labels else "similar edges"
        return loss * batch.totals.weight(pooled if spec.normalise == "supervised" else "instances")

    def mask_totals(self, batch: Batch, kept: Positives) -> dict[str, Tensor]:
        """CondInst's, and the numbers of supervised edges where these are pooled.

        They need the colours alone: they are left out where the likeness of features decides, too.
        """
        totals, spec = super().mask_totals(batch, kept), self.recipe.loss.pairwise
        if spec is None or spec.normalise != "supervised" or self.uses_features:
            return totals
        masked, stride = masked_objects(batch.targets)[kept.object], self.layout.out_stride
        boxes = torch.cat([target.boxes for target in batch.targets])[kept.object]
        height, width = (side // stride for side in batch.images.shape[2:])
        rectangles = grid_rectangles(boxes, stride, height, width, self.layout.official)
        edges = self.edges(batch)
        for name, chosen in (("similar edges", ~masked), ("true edges", masked)):
            of = rectangles[chosen], kept.image[chosen]
            totals[name] = pairwise.supervised_edges(*of, edges, spec, name == "similar edges").sum()
        return totals

    @property
    def uses_features(self) -> bool:
        """Whether edges depend on features of the network beside the colours."""
        return False

    def rectangles(self, masks: MaskPredictions) -> Tensor:
        """The instances' boxes in cells of the logits' grid: N x 4 int64 on the CPU."""
        size, layout = masks.logits.shape[1:], self.layout
        return grid_rectangles(masks.boxes, layout.out_stride, *size, layout.official)

    def edges(self, batch: Batch, features: Tensor | None = None) -> ColourEdges:
        """The batch's edges of similar colour (Eq. 8); colours on the grid are computed once a batch."""
        spec, stride = self.recipe.loss.pairwise, self.layout.out_stride
        colour = spec.colour or "image"
        with torch.autocast(batch.images.device.type, enabled=False):
            lab = batch.once(("lab", stride, colour), lambda: lab_on_grid(batch.images, stride, colour))
        ignored = batch.lowest(spec.bottom_rows)
        return colour_edges(batch.images, batch.valid, ignored, stride, spec, features, lab)

    def ramp(self) -> Tensor:
        """Linear warm-up of the pairwise term, 1 / T in the first step; the paper is silent (B6)."""
        steps = self.recipe.loss.pairwise.warmup
        return ((self.iteration + 1) / max(steps, 1)).clamp(max=1.0)


class BoxInst(BoxLosses, CondInst):
    """CondInst's network and inference; only the mask losses differ."""
