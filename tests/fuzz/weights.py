"""Files that are given as weights, and a small network for them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from hypothesis import strategies as st
from torch import nn

from tests.fuzz import inputs
from wsis.declare.specs.model import ModelSpec
from wsis.methods.weights import load_model
from wsis.nn.efficientnet import read
from wsis.nn.weights import load_backbone_weights


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def _tensor(value: Any) -> Any:
    """Something of what a file may hold in a tensor's place."""
    if isinstance(value, float):
        return torch.full((4, 3, 3, 3), value)
    if isinstance(value, int) and not isinstance(value, bool):
        return torch.zeros(abs(value) % 5, 3)
    return value


@st.composite
def _states(draw: st.DrawFn) -> Any:
    state: dict[Any, Any] = dict(network().state_dict())
    key = draw(st.sampled_from(sorted(state)) | inputs.texts)
    state[key] = _tensor(draw(inputs.values))
    if draw(st.booleans()):
        del state[draw(st.sampled_from(sorted(state, key=str)))]
    wrap = draw(st.sampled_from(["none", "model", "list", "run"]))
    if wrap == "run":
        return {"recipe": draw(inputs.leaves), "iteration": draw(inputs.leaves), "model": state}
    return {"none": state, "model": {"model": state}, "list": [state]}[wrap]


def saved(folder: Path, suffix: str, content: Any) -> Path:
    """A file of weights: a folder for None, bytes as they are, objects in the suffix' own format."""
    path = folder / f"weights{suffix}"
    if content is None:
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif suffix == ".pkl":
        arrays = content
        if isinstance(content, dict):  # with torchvision's strides, as the small network has no stages
            arrays = {key: np.asarray(value) for key, value in content.items()} | {
                "__author__": "torchvision"
            }
        path.write_bytes(pickle.dumps(arrays))
    elif suffix == ".safetensors":
        tensors = (
            {str(k).encode("utf-8", "replace").decode(): v for k, v in content.items()}
            if isinstance(content, dict)
            else {}
        )
        tensors = {
            key: value.contiguous() for key, value in tensors.items() if isinstance(value, torch.Tensor)
        }
        path.write_bytes(safetensors.torch.save(tensors))
    else:
        torch.save(content, path)
    return path


def load_foreign(folder: Path, suffix: str, content: Any, reader: str) -> None:
    """Read a file as a backbone's weights of three kinds, or as a run's."""
    path = saved(folder, suffix, content)
    try:
        if reader == "run":
            load_model(path)
        elif reader == "efficientnet":
            read(path)
        else:
            spec = ModelSpec(weights=str(path))
            net = network()
            load_backbone_weights(net, spec)
            assert all(torch.isfinite(value).all() for value in net.state_dict().values())
    finally:
        path.rmdir() if path.is_dir() else path.unlink()


good = safetensors.torch.save(network().state_dict())
contents = st.one_of(
    _states(),
    inputs.values,
    st.none(),
    st.binary(max_size=40),
    st.text(max_size=20).map(str.encode),
    inputs.cut(good),
    st.sampled_from([b"PK\x03\x04", pickle.dumps(print), pickle.dumps([1]), b"\x80\x04.", b"hello\n"]),
)
suffixes = st.sampled_from([".pth", ".pkl", ".safetensors", ".pt", "", ".txt"])
weights = st.tuples(suffixes, contents, st.sampled_from(["backbone", "backbone", "efficientnet", "run"])).map(
    lambda given: (given, f"{given[2]}, {given[0]}: {str(given[1])[:60]!r}")
)
