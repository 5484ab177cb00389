"""BoxCaseg: one backbone, three heads, trained on object patches and salient images together.

The weak head learns from bags on every patch (Eqs. 1 and 2); the salient and the transferred head learn from
the pixels of salient images only (Eq. 3), fused with weight alpha as at inference.
Shapes: B patches of S x S pixels, C' features at stride s.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsis.data.loading import Shard
from wsis.data.roots import Root
from wsis.data.salient import SalientRoot
from wsis.data.structures import BoxMask, BoxSample, PatchBatch, sent
from wsis.declare.recipe import Recipe
from wsis.declare.specs.schedule import ScheduleSpec
from wsis.errors import WsisError
from wsis.methods.boxcaseg.box_masks import predict_boxes
from wsis.methods.boxcaseg.heads import SegmentationHead, TransferredHead, released_initialisation
from wsis.methods.boxcaseg.losses import fuse, mil_loss, pixel_loss, smoothness
from wsis.methods.boxcaseg.patches import patch_batches, salient_share, uses_boxes
from wsis.methods.fill import BoxFiller
from wsis.methods.parts import Parts
from wsis.nn.backbones import build_backbone
from wsis.nn.hrnet import MOMENTUM
from wsis.nn.sync_norm import synchronised


class BoxCaseg(BoxFiller, Parts):
    """The network, its losses, and the logits of object patches.

    Heads that the recipe leaves out don't exist: `weak`, `salient` or `transferred` is None. Its base is the
    backbone, the three heads are the masks' part.
    """

    mask_part = ("weak.", "salient.", "transferred.")
    idle = False
    one_size = True

    def __init__(self, recipe: Recipe, num_classes: int) -> None:
        """num_classes: not used, masks know no class; taken as by every method."""
        super().__init__(recipe)
        if recipe.boxcaseg is None:
            raise WsisError("method 'boxcaseg' needs the section 'boxcaseg' in its recipe")
        self.spec = recipe.boxcaseg
        self.share = salient_share(recipe)
        self.backbone = build_backbone(recipe.model, "patch")
        tiny = recipe.model.backbone == "tiny"
        options = {"channels": self.backbone.channels, "momentum": 0.1 if tiny else MOMENTUM}
        self.weak = SegmentationHead(**options) if "weak" in self.spec.heads else None
        self.salient = SegmentationHead(**options) if "salient" in self.spec.heads else None
        self.transferred = TransferredHead(**options) if "transferred" in self.spec.heads else None
        if not tiny:
            for head in (self.weak, self.salient, self.transferred):
                if head is not None:
                    released_initialisation(head)
        self.set_trained()

    def stream(
        self, root: Root | None, salient: SalientRoot | None, shard: Shard
    ) -> Iterator[list[PatchBatch]]:
        return patch_batches(self.recipe, root, salient, shard)

    def cut(self, root: Root | None) -> Hashable:
        """Heads of salient images alone see no others; supervision says whether there are salient images."""
        spec = self.spec
        drawn = (self.recipe.data.supervision, uses_boxes(self.recipe), spec.ratio, spec.salient_images)
        return *drawn, spec.skip_overlapping, spec.shift, spec.normalise, spec.patch, spec.side

    def parameter_groups(self, schedule: ScheduleSpec) -> list[dict[str, Any]]:
        """Every parameter decays, norms included, as in the released code."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return [{"params": trained, "weight_decay": schedule.weight_decay}]

    def towers(self) -> list[nn.Module]:
        return [part for part in (self.backbone, self.weak, self.salient) if part is not None]

    def losses(self, batch: PatchBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """loss_mil, loss_smooth (weighted) and loss_pixel of a training batch; Eq. 4 is their sum.

        A term whose head or whose patches are absent is zero, with a gradient path to every parameter that
        it would train.
        """
        features = self.of_base(batch, lambda: self.backbone(batch.images))
        mil, smooth = self._weak_losses(features, batch)
        return {"loss_mil": mil, "loss_smooth": smooth, "loss_pixel": self._pixel_loss(features, batch)}

    def totals(self, batch: PatchBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Salient patches of random draws; all other means are over equally many patches a shard."""
        pooled = self.share is None and self.recipe.normalise == "batch"
        return {"salient": batch.salient.sum()} if pooled else {}

    def _weak_losses(self, features: Tensor, batch: PatchBatch) -> tuple[Tensor, Tensor]:
        """The bags' term of Eq. 1 and the weighted smoothness of Eq. 2, on every patch."""
        spec = self.spec
        if self.weak is None:
            return _nothing(features), _nothing(features)
        logits = _to_size(self.weak(features), batch.labels)
        mil = mil_loss(logits, batch.labels, batch.salient, spec.bags, spec.salient_bags, spec.reduction)
        return mil, spec.smooth * smoothness(logits, spec.reduction)

    def _pixel_loss(self, features: Tensor, batch: PatchBatch) -> Tensor:
        """Eq. 3 on the salient patches, a mean over the batch's, of which these may be a shard.

        Where `loss.normalise` is 'device' and draws are random, a shard takes the mean over its own salient
        patches, as each device does in the released code: a patch beside few others weighs more. Without any
        the heads don't run and batch norm's statistics stay, unless other devices wait for theirs.
        """
        heads = [head for head in (self.salient, self.transferred) if head is not None]
        if not heads or not (batch.salient.any() or any(map(synchronised, heads))):
            return _nothing(features) + 0.0 * sum(p.sum() for head in heads for p in head.parameters())
        rows = sent(batch.salient.nonzero().squeeze(1), features.device)
        labels = batch.labels[rows]
        maps = [_to_size(x, labels) for x in self._pixel_logits(features[rows])]
        loss = pixel_loss(self._fused(maps), labels)
        if self.share is None:
            return loss * batch.totals.weight("salient")
        return loss * len(labels) / (self.share * len(batch.labels))

    def logits(self, features: Tensor) -> Tensor:
        """Logits of the masks from the backbone's features: B x C' x S/s x S/s -> B x S/s x S/s float32.

        Those of the pixel-supervised heads, fused (Sec. 3.4); of the weak head where there is no other.
        """
        maps = self._pixel_logits(features)
        return self._fused(maps) if maps else self.weak(features).float()

    def fill(self, samples: Sequence[BoxSample]) -> list[list[BoxMask]]:
        return predict_boxes(self, samples, self.spec)

    def _pixel_logits(self, features: Tensor) -> list[Tensor]:
        """Logits of the salient head and of the transferred one, as far as they exist: B x S/s x S/s."""
        maps = [] if self.salient is None else [self.salient(features)]
        return maps if self.transferred is None else [*maps, self.transferred(features, self.weak)]

    def _fused(self, maps: list[Tensor]) -> Tensor:
        """`_pixel_logits` as one map, float32; a head alone is not weighted."""
        return maps[0].float() if len(maps) == 1 else fuse(*maps, self.spec.alpha, self.spec.fusion)


def _nothing(features: Tensor) -> Tensor:
    """Zero that depends on the features."""
    return features.sum(dtype=torch.float32) * 0.0


def _to_size(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits on the labels' grid: upsampled bilinearly, float32."""
    size = labels.shape[-2:]
    return F.interpolate(logits.float()[:, None], size=size, mode="bilinear", align_corners=False).squeeze(1)
