"""Mask2Former's network: our backbone, pixel decoder and transformer decoder of the package transformers.

Shapes: B images, H x W network input, D channels, Q queries, C classes; L predictions: one of the queries as
they begin, and one after each decoder layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wsis.declare.specs.model import ModelSpec
from wsis.errors import WsisError
from wsis.nn.pyramid import Normalised

try:
    from transformers import Mask2FormerConfig
    from transformers.models.mask2former import modeling_mask2former as published
except ImportError as error:
    raise WsisError(
        f"model.head mask2former needs the package transformers, which can't be imported ({error}): run"
        " `make env`, or install it into this environment"
    ) from error

STRIDE = 4  # input pixels a cell of masks and mask features
STAGES = ("c2", "c3", "c4", "c5")
GROUPS = 32  # of the pixel decoder's group norms, which divide the width


@dataclass(frozen=True)
class Size:
    """Queries, layers of the pixel decoder's encoder and of the decoder, and hidden units of both."""

    queries: int
    encoder_layers: int
    decoder_layers: int
    encoder_hidden: int
    decoder_hidden: int


PUBLISHED = Size(100, 6, 9, 1024, 2048)  # of COCO's instances, ResNet backbones
SMALL = Size(16, 1, 2, 64, 64)  # on backbones for small synthetic images


@dataclass
class Queries:
    """What the network sees in some images.

    features: B x D x H/4 x W/4, mask features
    classes:  L x B x Q x (C + 1) float32 logits, the last for no object
    masks:    L logits, each B x Q x H/4 x W/4
    """

    features: Tensor
    classes: Tensor
    masks: list[Tensor]


class QueryNetwork(nn.Module):
    """uint8 images in, Queries out."""

    def __init__(self, spec: ModelSpec, num_classes: int) -> None:
        """Raises WsisError when the backbone's weights can't be had."""
        super().__init__()
        self.backbone = Normalised(spec, STAGES)
        if not self.backbone.frozen:
            self.backbone.body.requires_grad_(True)  # stem and first stage, too, as published
        widths = self.backbone.body.channels
        self.stages = [name for name in STAGES if name in widths]
        size = PUBLISHED if len(self.stages) == len(STAGES) else SMALL
        self.predictions = size.decoder_layers + 1
        self.channels = -(-spec.channels // GROUPS) * GROUPS
        config = Mask2FormerConfig(
            feature_size=self.channels,
            mask_feature_size=self.channels,
            hidden_dim=self.channels,
            encoder_feedforward_dim=size.encoder_hidden,
            encoder_layers=size.encoder_layers,
            decoder_layers=self.predictions,
            dim_feedforward=size.decoder_hidden,
            num_queries=size.queries,
            feature_strides=[STRIDE * 2**i for i in range(len(self.stages))],
            common_stride=STRIDE,
        )
        self.head = QueryHead(config, [widths[name] for name in self.stages], num_classes)

    def forward(self, images: Tensor, sizes: list[tuple[int, int]] | None = None) -> Queries:
        """B x 3 x H x W uint8; sizes: (h, w) of each without padding, for a frozen backbone."""
        stages = self.backbone.stages(images, sizes)
        return self.head([stages[name] for name in self.stages])


class QueryHead(published.Mask2FormerPreTrainedModel):
    """Pixel decoder, transformer decoder and class layer; their names are those of transformers."""

    def __init__(self, config: Mask2FormerConfig, widths: list[int], num_classes: int) -> None:
        """widths: channels of the backbone's stages, the finest (stride 4) first."""
        super().__init__(config)
        self.pixel_decoder = published.Mask2FormerPixelDecoder(config, widths)
        self.transformer_module = published.Mask2FormerTransformerModule(config.feature_size, config)
        self.class_predictor = nn.Linear(config.hidden_dim, num_classes + 1)
        self.post_init()
        self._begin_as_published()

    def _begin_as_published(self) -> None:
        """First weights as Mask2Former's own code draws them, where transformers draws others."""
        decoder = self.pixel_decoder
        for module in decoder.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        linear = [layer for each in decoder.encoder.layers for layer in (each.fc1, each.fc2)]
        for layer in (*linear, *(projection[0] for projection in decoder.input_projections)):
            nn.init.xavier_uniform_(layer.weight)
        for layer in linear:
            width = layer.in_features**-0.5
            nn.init.uniform_(layer.bias, -width, width)
        self.class_predictor.reset_parameters()

    def train(self, mode: bool = True) -> QueryHead:
        """Training mode, but for the encoder: its layers would ask the device whether values are finite.

        They differ in nothing else, since nothing is dropped out.
        """
        super().train(mode)
        self.pixel_decoder.encoder.eval()
        return self

    def forward(self, stages: list[Tensor]) -> Queries:
        """stages: of the backbone, the finest first."""
        pixels = self.pixel_decoder(stages, return_dict=True)
        decoded = self.transformer_module(pixels.multi_scale_features, pixels.mask_features)
        hidden = torch.stack(decoded.intermediate_hidden_states).transpose(1, 2)  # L x B x Q x D
        masks = list(decoded.masks_queries_logits)
        return Queries(pixels.mask_features, self.class_predictor(hidden).float(), masks)
