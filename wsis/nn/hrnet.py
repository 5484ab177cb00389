"""High-resolution networks: four branches kept at their resolutions (Wang et al., HRNet).

Shapes: B patches of S x S pixels, s the stride of the finest branch, C' output channels.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsis.declare.specs.model import ModelSpec
from wsis.errors import WsisError
from wsis.nn.backbones import BACKBONES
from wsis.nn.tensors import fitting, read_tensors

# As a segmentation network (HRNetV2) all branches are concatenated, fusion upsamples bilinearly and batch
# norm's momentum is 0.01; as a pose network the finest branch is the output and fusion takes the nearest
# cell.
MOMENTUM = 0.01  # of HRNetV2's batch norm, and of the heads on it


class HRNetFeatures(nn.Module):
    """timm's HRNet up to its fourth stage, at stride 4.

    "hrnetv2-w48": 48 + 96 + 192 + 384 = 720 channels, the coarse branches upsampled bilinearly.
    "hrnet-w48", "hrnet-w32": 48 or 32 channels, the finest branch alone; what it does not need is left out.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        backbone = BACKBONES[spec.backbone]
        self.stride, self.multiple = backbone.stride, backbone.multiple
        self.net = _stages(spec)
        self.joined = spec.backbone.startswith("hrnetv2")
        widths = self.net.feature_info.channels()
        self.channels = sum(widths) if self.joined else widths[0]
        if self.joined:
            for module in self.net.modules():
                if isinstance(module, nn.Upsample):
                    module.mode, module.align_corners = "bilinear", False
                if isinstance(module, nn.BatchNorm2d):
                    module.momentum = MOMENTUM
        else:  # fusion into the coarse branches feeds nothing
            last = self.net.stage4[-1]
            last.fuse_layers = last.fuse_layers[:1]

    def forward(self, patches: Tensor) -> Tensor:
        """B x 3 x S x S float -> B x C' x S/4 x S/4. Raises WsisError when S is no multiple of 32."""
        height, width = patches.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise WsisError(
                f"HRNet takes images and patches whose sides are multiples of {self.multiple}, not"
                f" {height} x {width}: change the recipe's sizes of them"
            )
        branches = self.net(patches)
        return join(branches) if self.joined else branches[0]


def join(branches: list[Tensor]) -> Tensor:
    """Branches upsampled bilinearly to the first one's size and concatenated."""
    size = branches[0].shape[-2:]
    same = [F.interpolate(x, size=size, mode="bilinear", align_corners=False) for x in branches[1:]]
    return torch.cat([branches[0], *same], 1)


def _stages(spec: ModelSpec) -> nn.Module:
    """timm's network of this backbone with `spec.weights`."""
    import timm

    name = spec.backbone.replace("hrnetv2-", "hrnet_").replace("-", "_")
    options = {"features_only": True, "feature_location": "", "out_indices": (1, 2, 3, 4)}
    if spec.weights != "imagenet":
        net = timm.create_model(name, pretrained=False, **options)
        if spec.weights != "none":
            _load(net, Path(spec.weights), spec.backbone)
        return net
    try:
        return timm.create_model(name, pretrained=True, **options)
    except Exception as error:
        raise WsisError(
            f"ImageNet weights of {spec.backbone} could not be downloaded ({error.__class__.__name__}). Give"
            f" a local file with model.weights: /path/to/file (model.safetensors of timm/{name}.ms_in1k, or"
            f" the .pth of HRNet's ImageNet classification), or train from scratch with model.weights: none"
        ) from error


def _load(net: nn.Module, path: Path, backbone: str) -> None:
    """Load a .safetensors or a .pth file with HRNet's names; what belongs to a classifier is left out."""
    if path.suffix == ".pkl":
        from wsis.nn.weights import read_weights  # brings torchvision along

        state = read_weights(path).state
    else:
        state = read_tensors(path)
    needed = {key: value for key, value in net.state_dict().items() if not key.endswith("batches_tracked")}
    fitting(needed, state, path, backbone)
    net.load_state_dict({key: state[key] for key in needed}, strict=False)
