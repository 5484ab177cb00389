"""Swin Transformer (Liu et al., ICCV 2021) as a backbone: torchvision's, with a norm behind each stage.

torchvision's pads a map to whole windows before it shifts them, as the authors' detectors and detectron2 do;
timm's shifts first, which gives other features where a side is no multiple of the window's. Only where a map
is one window or less it doesn't shift, and they do.
"""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor, nn
from torchvision.models import SwinTransformer

from wsis.declare.specs.model import ModelSpec
from wsis.errors import WsisError
from wsis.nn.backbones import BACKBONES
from wsis.nn.weights import first_weights

SIZES: dict[str, dict[str, Any]] = {
    "swin-b": {"depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "window_size": [7, 7]},
    "tiny-swin": {"depths": [2, 2, 2], "num_heads": [1, 2, 4], "window_size": [4, 4]},
}
DROPPED = {"swin-b": 0.3, "tiny-swin": 0.0}  # of the last block's branches; Swin-B's: the authors' detectors
THEIRS = [  # the authors' names -> torchvision's; a stage is followed by the merging of its cells
    (r"patch_embed\.proj\.(.+)", lambda m: f"0.0.{m[1]}"),
    (r"patch_embed\.norm\.(.+)", lambda m: f"0.2.{m[1]}"),
    (r"layers\.(\d)\.blocks\.(\d+)\.mlp\.fc1\.(.+)", lambda m: f"{2 * int(m[1]) + 1}.{m[2]}.mlp.0.{m[3]}"),
    (r"layers\.(\d)\.blocks\.(\d+)\.mlp\.fc2\.(.+)", lambda m: f"{2 * int(m[1]) + 1}.{m[2]}.mlp.3.{m[3]}"),
    (r"layers\.(\d)\.blocks\.(\d+)\.((?:norm\d|attn)\..+)", lambda m: f"{2 * int(m[1]) + 1}.{m[2]}.{m[3]}"),
    (r"layers\.(\d)\.downsample\.(.+)", lambda m: f"{2 * int(m[1]) + 2}.{m[2]}"),
]


class SwinStages(nn.Module):
    """The stages "c2" (stride 4), "c3", ... of a Swin Transformer."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        widths = BACKBONES[spec.backbone].widths
        dropped = {"stochastic_depth_prob": DROPPED[spec.backbone]}
        net = SwinTransformer([4, 4], widths[0], **SIZES[spec.backbone], **dropped)
        self.features = net.features
        if (weights := first_weights(spec)) is not None:
            load(self.features, weights.state, spec.weights)
        self.channels = {f"c{2 + i}": width for i, width in enumerate(widths)}
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name, width in self.channels.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """B x 3 x H x W normalised -> the stages by name."""
        stages = {}
        for number, part in enumerate(self.features):
            x = part(x)  # B x H/s x W/s x C
            if number % 2:
                name = f"c{2 + number // 2}"
                stages[name] = self.norms[name](x).permute(0, 3, 1, 2).contiguous()
        return stages


def load(features: nn.Module, state: dict[str, Tensor], where: str) -> None:
    """Load torchvision's or the authors' weights. WsisError, which begins with `where`, for others."""
    own = features.state_dict()
    given = {ours: value for name, value in state.items() if (ours := torchvision_name(name)) in own}
    tables = {
        name: own[name] for name in own if name.endswith("relative_position_index")
    }  # they are constants
    odd = [name for name in own if name not in tables and name not in given]
    odd += [name for name in given if name not in tables and given[name].shape != own[name].shape]
    if odd:
        text = f"{len(odd)} tensors are missing or have another shape, among them {', '.join(odd[:3])}"
        raise WsisError(f"{where}: not the weights of this Swin Transformer: {text}")
    features.load_state_dict(given | tables)


def torchvision_name(name: str) -> str:
    """'layers.2.blocks.5.mlp.fc1.weight' or 'features.5.5.mlp.0.weight' -> '5.5.mlp.0.weight'."""
    name = name.removeprefix("backbone.").removeprefix("features.")
    for pattern, ours in THEIRS:
        if match := re.fullmatch(pattern, name):
            return ours(match)
    return name
