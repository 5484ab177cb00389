"""Backbone and FPN for torchvision's detection heads.

Shapes: B images, H x W network input (a multiple of the coarsest stride).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from wsis.declare.specs.model import ModelSpec
from wsis.errors import WsisError
from wsis.methods.mask_rcnn.layout import DETAILS, RESNET, TINY, Layout
from wsis.nn.backbones import giving
from wsis.nn.frozen import Size
from wsis.nn.pyramid import Normalised


class Backbone(Normalised):
    """uint8 images in, levels "0" (finest), "1", ... and "pool" out, all `out_channels` wide."""

    def __init__(self, spec: ModelSpec, layout: Layout) -> None:
        super().__init__(spec, layout.names)
        self.layout, self.out_channels = layout, spec.channels
        extra = LastLevelMaxPool() if layout.pooled else None
        widths = [self.body.channels[name] for name in layout.names]
        self.fpn = FeaturePyramidNetwork(widths, spec.channels, extra_blocks=extra)

    def forward(self, images: Tensor, sizes: Sequence[Size] | None = None) -> dict[str, Tensor]:
        """B x 3 x H x W uint8 RGB -> name: B x C x H/s x W/s float32, also under automatic half precision.

        torchvision computes anchors and boxes in the features' type; bfloat16 has 8 bits for a coordinate.
        """
        stages = self.stages(images, sizes)
        levels = self.fpn({str(i): stages[name] for i, name in enumerate(self.layout.names)})
        return {name: x.float() for name, x in levels.items()}


def layout_of(spec: ModelSpec) -> Layout:
    """The sizes that go with a backbone; raises WsisError for one that Mask R-CNN has not."""
    if spec.backbone not in giving(["pyramid"]):
        there = ", ".join(giving(["pyramid"]))
        raise WsisError(f"model.backbone '{spec.backbone}': Mask R-CNN has {there}")
    if spec.neck != "fpn":
        raise WsisError(f"model.neck '{spec.neck}': Mask R-CNN has an FPN, set model.neck: fpn")
    layout = TINY if spec.backbone.startswith("tiny") else RESNET
    return replace(layout, details=DETAILS[spec.details])
