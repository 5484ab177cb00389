"""High-resolution networks: four branches kept at their resolutions (Wang et al., HRNet).

Shapes: B patches of S x S pixels, s the stride of the finest branch, C' output channels.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsis.declare.recipe import ModelSpec
from wsis.errors import WsisError

# timm's models. As a segmentation network (HRNetV2) all branches are concatenated, fusion upsamples
# bilinearly and batch norm's momentum is 0.01; as a pose network the finest branch is the output and fusion
# takes the nearest cell.
NAMES = {"hrnetv2-w48": "hrnet_w48", "hrnet-w48": "hrnet_w48", "hrnet-w32": "hrnet_w32"}
MOMENTUM = 0.01  # of HRNetV2's batch norm, and of the heads on it
MULTIPLE = 32  # sides of the input must be one: fusion doubles the coarse branches


def build_hrnet(spec: ModelSpec) -> HRNetFeatures | TinyHRNet:
    """The network of `spec.backbone`, with attributes `channels` (C') and `stride` (s).

    It maps normalised patches, B x 3 x S x S float, to B x C' x S/s x S/s float. Raises WsisError for another
    backbone, and where weights can't be had.
    """
    if spec.backbone == "tiny":
        return TinyHRNet()
    if spec.backbone not in NAMES:
        raise WsisError(
            f"model.backbone '{spec.backbone}' is no high-resolution network; use {', '.join(NAMES)} or tiny"
        )
    return HRNetFeatures(spec)


class HRNetFeatures(nn.Module):
    """timm's HRNet up to its fourth stage, at stride 4.

    "hrnetv2-w48": 48 + 96 + 192 + 384 = 720 channels, the coarse branches upsampled bilinearly.
    "hrnet-w48", "hrnet-w32": 48 or 32 channels, the finest branch alone; what it does not need is left out.
    """

    stride = 4

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
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
        if patches.shape[-1] % MULTIPLE or patches.shape[-2] % MULTIPLE:
            raise WsisError(
                f"HRNet takes patches whose sides are multiples of {MULTIPLE}, not"
                f" {patches.shape[-2]} x {patches.shape[-1]}: change boxcaseg.patch and boxcaseg.side"
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

    name = NAMES[spec.backbone]
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
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state = load_file(path)
        except (OSError, SafetensorError) as error:
            raise WsisError(f"{path}: can't be read as weights: {error}") from error
    else:
        from wsis.nn.weights import read_weights  # brings torchvision along

        state = read_weights(path).state
    needed = {key: value for key, value in net.state_dict().items() if not key.endswith("batches_tracked")}
    misfits = [k for k, value in needed.items() if k not in state or state[k].shape != value.shape]
    if misfits:
        raise WsisError(
            f"{path}: not the weights of {backbone}: {len(misfits)} tensors are missing or misshapen,"
            f" among them {', '.join(sorted(misfits)[:3])}"
        )
    net.load_state_dict({key: state[key] for key in needed}, strict=False)


class TinyHRNet(nn.Module):
    """HRNet in small, for patches of about 48 pixels: strides 2, 4, 8 and 16, one block a branch and stage.

    A stage adds a branch, and ends with an exchange: every branch gets the sum of all, brought to its size
    (pooled, or the nearest cell) and its width by 1x1 convolutions. At the end each branch gives 16 of the 64
    channels at stride 2.
    """

    stride = 2
    channels = 64
    widths = (16, 32, 48, 64)

    def __init__(self) -> None:
        super().__init__()
        widths = self.widths
        self.stem = nn.Sequential(_conv(3, widths[0], 3, 2), nn.ReLU(inplace=True))
        self.grow = nn.ModuleList(
            nn.Sequential(_conv(a, b, 3, 2), nn.ReLU(inplace=True)) for a, b in pairwise(widths)
        )
        self.blocks = nn.ModuleList(nn.ModuleList(map(_Block, widths[: n + 1])) for n in range(1, 4))
        self.exchanges = nn.ModuleList(_Exchange(widths[: n + 1]) for n in range(1, 4))
        share = self.channels // len(widths)
        self.outputs = nn.ModuleList(_conv(width, share, 1) for width in widths)
        self.to(memory_format=torch.channels_last)  # a third faster on a CPU

    def forward(self, patches: Tensor) -> Tensor:
        """B x 3 x S x S float -> B x 64 x S/2 x S/2."""
        branches = [self.stem(patches.contiguous(memory_format=torch.channels_last))]
        for grow, blocks, exchange in zip(self.grow, self.blocks, self.exchanges, strict=True):
            branches.append(grow(branches[-1]))
            branches = exchange([block(x) for block, x in zip(blocks, branches, strict=True)])
        return join([out(x) for out, x in zip(self.outputs, branches, strict=True)]).relu()


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(_conv(width, width, 3), nn.ReLU(inplace=True), _conv(width, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.convs(x)).relu()


class _Exchange(nn.Module):
    """Every branch gets the sum of all; finer ones are averaged over cells, coarser ones repeated."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.ModuleList(nn.Identity() if a == b else _conv(a, b, 1) for a in widths) for b in widths
        )

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        results = []
        for target, convs in zip(branches, self.convs, strict=True):
            size = target.shape[-2:]
            parts = []
            for conv, x in zip(convs, branches, strict=True):
                if x.shape[-1] > size[-1]:
                    x = conv(F.adaptive_avg_pool2d(x, size))
                elif x.shape[-1] < size[-1]:
                    x = F.interpolate(conv(x), size=size, mode="nearest")
                parts.append(x)
            results.append(sum(parts).relu())
        return results


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs)
    )
