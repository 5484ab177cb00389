"""Tensors from a file that may be anybody's: nothing of it is executed, and what is no weights is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from wsis.errors import WsisError, brief, shortened


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The finite tensors by name in a file. Raises WsisError naming it, and the tensor where one is wrong."""
    return tensors_in(read_file(path), path)


def read_file(path: Path) -> Any:
    """What a .safetensors file or a torch file (read with `weights_only`) holds. Raises WsisError."""
    if not path.exists():
        raise WsisError(f"{path}: no such weights file")
    if not path.is_file():
        raise WsisError(f"{path}: can't be read as weights: not a file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        else:
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, whatever the file holds
        raise WsisError(f"{path}: can't be read as weights: {first_line(error)}") from None


def tensors_in(content: Any, path: Path) -> dict[str, Tensor]:
    """The tensors, or arrays, of a file's content, or of its "model". Raises WsisError as `read_tensors`."""
    for key in ("model", "state_dict"):
        content = content.get(key, content) if isinstance(content, Mapping) else content
    if not isinstance(content, Mapping):
        raise WsisError(f"{path}: expected tensors by name, got {type(content).__name__}")
    tensors = {
        name: torch.from_numpy(value.astype(value.dtype.newbyteorder("="))) if _is_array(value) else value
        for name, value in content.items()
        if isinstance(name, str) and (_is_array(value) or _is_plain(value))
    }
    if not tensors:
        raise WsisError(f"{path}: no tensors by name in it, but {brief(list(content))}")
    check_finite(tensors, path)
    return tensors


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiu"


def _is_plain(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise WsisError for a tensor with NaN or infinity."""
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise WsisError(f"{path}: {shortened(name)}: holds NaN or infinity")


def fitting(wanted: Mapping[str, Tensor], given: dict[str, Tensor], path: str | Path, what: str) -> None:
    """Raise WsisError unless `given` has every tensor of `wanted`, in its shape. what: their owner."""
    misfits = [
        name for name, value in wanted.items() if name not in given or given[name].shape != value.shape
    ]
    if misfits:
        raise WsisError(
            f"{path}: not the weights of {what}: {len(misfits)} tensors are missing or misshapen, among them"
            f" {', '.join(sorted(misfits)[:3])}"
        )


def first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return shortened(lines[0])
