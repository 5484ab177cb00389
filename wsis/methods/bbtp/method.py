"""BBTP: Mask R-CNN whose masks come from the tightness of boxes (Hsu et al., NeurIPS 2019).

With data.supervision 'boxes+salient' it learns from salient images, too (BoxCaseg, Table 1; how is not said
there, see erratum bbtp-salient). The mask head then has one mask for all classes. Images with boxes train all
that they train alone, salient images the masks and the features below.
Shapes: B images of a batch, of which some have boxes and the others a salient object with its mask.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from wsis.data.loading import Shard
from wsis.data.roots import Root
from wsis.data.salient import SalientRoot
from wsis.data.structures import Batch, sent
from wsis.methods.bbtp.heads import MixedRoIHeads, TightnessRoIHeads
from wsis.methods.bbtp.mixed import mixed_batches
from wsis.methods.mask_rcnn.method import MaskRCNN, torchvision_target
from wsis.methods.mask_rcnn.roi_heads import MaskRoIHeads

OF_BOXES = ("loss_rpn_cls", "loss_rpn_box", "loss_cls", "loss_box", "loss_mask")


class BBTP(MaskRCNN):
    """Mask R-CNN's network and inference; the mask loss differs, and salient images may come beside boxes."""

    needs_masks = False

    @property
    def mixed(self) -> bool:
        """Whether there are salient images beside those with boxes."""
        return self.recipe.data.supervision == "boxes+salient"

    @property
    def roi_heads_type(self) -> type[MaskRoIHeads]:
        return MixedRoIHeads if self.mixed else TightnessRoIHeads

    def stream(self, root: Root, salient: SalientRoot | None, shard: Shard) -> Iterator[list[Batch]]:
        if self.mixed:
            return mixed_batches(self.recipe, root, salient, shard)
        return super().stream(root, salient, shard)

    def totals(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """How many images have boxes, and how many salient objects there are, where the kinds are mixed."""
        if not self.mixed or self.recipe.normalise != "batch":
            return {}
        salient = _salient(batch)
        objects = sum(int(target.masked.sum()) for target in batch.targets)
        return {"boxed": (~salient).sum(), "salient": torch.tensor(objects)}

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Those of Mask R-CNN on images with boxes; of mixed batches also loss_salient, the salient masks'.

        Each is a mean over its own kind, and 0 where the batch has none of it.
        """
        if not self.mixed:
            return super().losses(batch, generator)
        targets = [torchvision_target(target, batch.images.device) for target in batch.targets]
        images, features = self.features(batch)
        salient = _salient(batch)
        of_boxes = self._boxed(images, features, targets, (~salient).nonzero().squeeze(1), generator)
        pixels = self.roi_heads.salient_loss(images, features, targets, generator)
        boxed = batch.totals.weight("boxed")
        weighted = {name: loss * boxed for name, loss in of_boxes.items()}
        return weighted | {"loss_salient": pixels * batch.totals.weight("salient")}

    def _boxed(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        targets: list[dict[str, Tensor]],
        rows: Tensor,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """The losses of the images with boxes; rows: their places in the batch, int64 on the CPU."""
        places = rows.tolist()
        if not places:
            heads = self.roi_heads
            idle = [p for part in (self.rpn, heads.box_head, heads.box_predictor) for p in part.parameters()]
            nothing = 0.0 * sum(value.sum() for value in (*idle, *features.values()))
            return dict.fromkeys(OF_BOXES, nothing)
        chosen = sent(rows, images.tensors.device)
        images = ImageList(images.tensors[chosen], [images.image_sizes[place] for place in places])
        features = {name: level[chosen] for name, level in features.items()}
        targets = [targets[place] for place in places]
        regions, losses = self.regions(images, features, targets, generator)
        return losses | {"loss_mask": self.roi_heads.loss_mask(regions, targets)}


def _salient(batch: Batch) -> Tensor:
    """Which images of a mixed batch are salient ones, whose masks are shown: B bool on the CPU."""
    return torch.tensor([target.masks is not None for target in batch.targets])
