"""ImageNet weights of a backbone: from torchvision's cache or download, or from a local file.

A local file is a torch state dict (read with `weights_only`), or one of detectron2's model-zoo pickles, which
is read by an unpickler that builds arrays and plain containers and nothing else.
"""

from __future__ import annotations

import io
import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from wsis.declare.specs.model import ModelSpec
from wsis.errors import WsisError
from wsis.nn.backbones import STD
from wsis.nn.tensors import first_line, fitting, read_file, tensors_in

WEIGHTS = {
    "resnet50": "ResNet50_Weights.IMAGENET1K_V1",
    "resnet101": "ResNet101_Weights.IMAGENET1K_V1",
    "resnet101-dcn": "ResNet101_Weights.IMAGENET1K_V1",
    "swin-b": "Swin_B_Weights.IMAGENET1K_V1",
}


@dataclass
class Weights:
    """A backbone's tensors by torchvision's names.

    caffe:  trained with the stride in each stage's first 1x1 convolution (MSRA's models of detectron2's zoo)
    folded: without running statistics, which are folded into scale and bias: only frozen batch norm fits
    """

    state: dict[str, Tensor]
    caffe: bool = False
    folded: bool = False


def load_backbone_weights(net: nn.Module, spec: ModelSpec) -> None:
    """Load `spec.weights` into a torchvision ResNet: "none", "imagenet", or a file's path.

    Weights that were trained with another stride placement move the net's strides. Raises WsisError naming
    the file to provide when weights are missing or don't fit.
    """
    if (weights := first_weights(spec)) is None:
        return
    names = set(net.state_dict())
    kept = {key: value for key, value in weights.state.items() if key in names and not key.startswith("fc.")}
    needed = {n for n in names if not n.startswith("fc.") and not n.endswith("num_batches_tracked")}
    own = {name: value for name, value in net.state_dict().items() if name in needed}
    fitting(own, kept, spec.weights, spec.backbone)
    net.load_state_dict(kept, strict=False)
    if weights.caffe:
        for stage in (net.layer2, net.layer3, net.layer4):
            stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)


def first_weights(spec: ModelSpec) -> Weights | None:
    """What `spec.weights` means; None for "none". WsisError where it can't be had, or not trained further."""
    if spec.weights == "none":
        return None
    weights = _download(spec.backbone) if spec.weights == "imagenet" else read_weights(Path(spec.weights))
    if weights.folded and spec.norm != "frozen":
        raise WsisError(
            f"{spec.weights}: its batch norm has no running statistics, so it can't be trained further; "
            f"set model.norm: frozen, or use torchvision's weights"
        )
    return weights


def _download(backbone: str) -> Weights:
    weights = torchvision.models.get_weight(WEIGHTS[backbone])
    try:
        return Weights(weights.get_state_dict(progress=False, check_hash=True))
    except Exception as error:
        name = weights.url.rsplit("/", 1)[-1]
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise WsisError(
            f"ImageNet weights of {backbone} could not be downloaded ({error.__class__.__name__}). "
            f"Put {name} into {folder}, or give a local file with model.weights: /path/to/file "
            f"(torchvision's .pth or detectron2's R-50.pkl), or train from scratch with model.weights: none"
        ) from error


def read_weights(path: Path) -> Weights:
    """Weights with torchvision's names from a .pth or a detectron2 .pkl file, nothing executed."""
    content = read_content(path)
    return _from_detectron2(content, path) if path.suffix == ".pkl" else Weights(tensors_in(content, path))


def read_content(path: Path) -> Any:
    """What a file of weights holds, nothing executed; a .pkl is detectron2's. Raises WsisError."""
    if path.suffix != ".pkl" or not path.is_file():
        return read_file(path)
    try:
        return _ArraysOnly(io.BytesIO(path.read_bytes())).load()
    except Exception as error:  # of many kinds, whatever the file holds
        raise WsisError(f"{path}: can't be read as weights: {first_line(error)}") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a whole network's .pth or .pkl file, by the names that its code gives them."""
    return tensors_in(read_content(path), path)


class _ArraysOnly(pickle.Unpickler):
    """Unpickles numpy arrays and builtin containers; anything else is refused before it is called."""

    ALLOWED = frozenset({
        ("numpy", "ndarray"), ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"),
        ("collections", "OrderedDict"), ("_codecs", "encode"),
    })  # fmt: skip

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it would run {module}.{name}; only arrays are read")
        return super().find_class(module, name)


def _from_detectron2(tree: Any, path: Path) -> Weights:
    """A zoo file with detectron2's or Caffe2's ResNet names.

    MSRA's models expect BGR pixels of 0 to 255 without division by a deviation. Ours are RGB and divided, so
    their first filters are flipped and scaled, which gives the same activations. Files that detectron2
    converted from torchvision say so (`__author__`) and need neither.
    """
    named = tree.get("model", tree) if isinstance(tree, dict) else tree
    if not isinstance(named, dict):
        raise WsisError(f"{path}: expected arrays by name, got {type(named).__name__}")
    caffe = tree.get("__author__") != "torchvision"
    state = {}
    for key, value in tensors_in(named, path).items():
        if "fc1000" not in key and "linear" not in key:
            state[torchvision_name(key)] = value
    if caffe and "conv1.weight" in state and state["conv1.weight"].shape[1:2] == (3,):
        state["conv1.weight"] = for_rgb(state["conv1.weight"])
    folded = "bn1.running_var" not in state
    if folded:
        for key in [k for k in state if k.endswith(".weight") and re.search(r"bn|downsample\.1", k)]:
            stem = key.removesuffix("weight")
            state[stem + "running_mean"] = torch.zeros_like(state[key])
            state[stem + "running_var"] = torch.ones_like(state[key])
    return Weights(state, caffe, folded)


def for_rgb(filters: Tensor) -> Tensor:
    """A first layer that expects BGR pixels of 0 to 255 less their mean -> one for ours; N x 3 x k x k."""
    return filters.flip(1) * torch.tensor(STD)[None, :, None, None]


def torchvision_name(key: str) -> str:
    """'res4_3_branch2b_bn_s' or 'res4.3.conv2.norm.weight' -> 'layer3.3.bn2.weight'."""
    old = {"_w": "weight", "_s": "weight", "_b": "bias", "_rm": "running_mean", "_riv": "running_var"}
    if match := re.fullmatch(r"(res_)?conv1(_bn)?(_w|_s|_b|_rm|_riv)", key):
        return f"{'bn1' if match[2] else 'conv1'}.{old[match[3]]}"
    if match := re.fullmatch(r"res(\d)_(\d+)_branch(1|2a|2b|2c)(_bn)?(_w|_s|_b|_rm|_riv)", key):
        stage, block, branch, norm, kind = match.groups()
        part = ("downsample.1" if norm else "downsample.0") if branch == "1" else (
            f"{'bn' if norm else 'conv'}{'abc'.index(branch[1]) + 1}"
        )  # fmt: skip
        return f"layer{int(stage) - 1}.{block}.{part}.{old[kind]}"
    if match := re.fullmatch(r"stem\.conv1(\.norm)?\.(\w+)", key):
        return f"{'bn1' if match[1] else 'conv1'}.{match[2]}"
    if match := re.fullmatch(r"res(\d)\.(\d+)\.(shortcut|conv(\d))(\.norm)?\.(\w+)", key):
        stage, block, which, number, norm, kind = match.groups()
        part = (
            f"downsample.{1 if norm else 0}" if which == "shortcut" else f"{'bn' if norm else 'conv'}{number}"
        )
        return f"layer{int(stage) - 1}.{block}.{part}.{kind}"
    return key
