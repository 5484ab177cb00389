"""A simulated accelerator: it counts what a graphics card would be given to do, and what waits for it.

Its tensors are wrappers that say device "meta" and keep their data beside them, on the CPU. Every operation
on them is taken apart below autograd, computed on the CPU and wrapped again, so that values and gradients are
the CPU's. Counted are the operations that would launch a kernel (views do not), the waits (the host asks for
a number, or for sizes that depend on values) and host data (tensors that are made on the host and copied
while everything waits, as `torch.tensor(values, device=...)` does). Each carries the line of this project
that caused it, and whether a library lies between. An operation that takes tensors of both devices is
refused.

It does not simulate mixed precision, generators on the device and fused optimisers, which raise an error, nor
several devices, memory and time.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("meta")
PROJECT = Path(__file__).resolve().parents[1]
PASSED = {Path(__file__).resolve(), PROJECT / "data" / "structures.py"}  # what copies for others is no cause
LIBRARIES = ("/torchvision/", "/transformers/")
# Their results have sizes that only the device knows, or lie on the host.
SIZED_BY_VALUES = {
    "nonzero", "_unique2", "unique_dim", "unique_consecutive", "masked_select", "bincount", "nms", "equal",
    "_local_scalar_dense", "is_nonzero", "histc",
}  # fmt: skip
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
COPIES = {"_to_copy", "copy_", "_copy_from"}
MADE_ON_HOST = {torch.tensor, torch.as_tensor, Tensor.new_tensor}


@dataclass(frozen=True)
class Cause:
    """The innermost line of this project under an operation, "file:line", and whether a library called it."""

    line: str
    library: bool


@dataclass
class Counts:
    """What was counted; each wait and each copy of host data by its cause and kind."""

    operations: int = 0
    waits: Counter[tuple[Cause, str]] = field(default_factory=Counter)
    host_data: Counter[tuple[Cause, str]] = field(default_factory=Counter)

    def clear(self) -> None:
        """Count from zero."""
        self.operations = 0
        self.waits.clear()
        self.host_data.clear()

    def waits_of(self, library: bool) -> int:
        """Waits for the device, those for copies of host data included, of our code or of a library's."""
        both = (*self.waits.items(), *self.host_data.items())
        return sum(number for (cause, _), number in both if cause.library == library)


class OnDevice(Tensor):
    """A tensor of the simulated device; `data_` on the CPU are its values."""

    data_: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, data: Tensor) -> OnDevice:
        wrapper = Tensor._make_wrapper_subclass(
            cls,
            data.shape,
            strides=data.stride(),
            storage_offset=data.storage_offset(),
            dtype=data.dtype,
            device=DEVICE,
        )
        wrapper.data_ = data
        return wrapper

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {}, None)


@contextlib.contextmanager
def simulated() -> Iterator[Counts]:
    """While it lasts, "meta" is the simulated device; yields what is counted, from zero."""
    counts = Counts()
    with patch("torch.autocast", _Autocast), _Functions(counts), _Mode(counts):
        yield counts


def values_of(tensor: Tensor) -> Tensor:
    """The values of a tensor of either device, on the CPU, without counting."""
    return tensor.data_ if isinstance(tensor, OnDevice) else tensor


class _Autocast(torch.autocast):
    """torch's, but on the simulated device, where it may be switched off and not on."""

    def __new__(cls, device_type: str, *args: Any, enabled: bool = True, **kwargs: Any) -> Any:
        if device_type != DEVICE.type:
            return super().__new__(cls)
        if enabled:
            raise NotImplementedError("the simulated accelerator has no mixed precision")
        return contextlib.nullcontext()


class _Functions(TorchFunctionMode):
    """What bypasses dispatch: tensors made of the host's values, and `tolist`."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts = counts

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in MADE_ON_HOST:
            here = isinstance(args[0], OnDevice) and func is Tensor.new_tensor
            given = kwargs.get("device")
            if here or (given is not None and torch.device(given) == DEVICE):
                return self._made(func, args, kwargs)
        if func is Tensor.tolist and isinstance(args[0], OnDevice):
            self.counts.waits[cause(), "tolist"] += 1
            return args[0].data_.tolist()
        return func(*args, **kwargs)

    def _made(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        first, *rest = args
        if func is not Tensor.new_tensor and isinstance(first, OnDevice):
            return func(first, *rest, **kwargs)
        kwargs["device"] = "cpu"
        self.counts.host_data[cause(), func.__name__] += 1
        with torch._C.DisableTorchFunction():
            return OnDevice(func(values_of(first), *rest, **kwargs))


class _Mode(TorchDispatchMode):
    """Every operation below autograd; those that touch no tensor of the device pass through."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts = counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        device = kwargs.get("device")
        made_here = device is not None and torch.device(device) == DEVICE
        if not made_here and not any(isinstance(x, OnDevice) for x in _tensors((args, kwargs))):
            return func(*args, **kwargs)
        return _computed(func, args, kwargs, self.counts)


def _computed(func: Any, args: Any, kwargs: dict[str, Any], counts: Counts | None) -> Any:
    """An operation's result, on the operation's device; the same object where it works in place."""
    name = func.overloadpacket.__name__
    device = kwargs.get("device")
    to_host = name in COPIES and _leads_to_host(name, args, device)
    if name not in COPIES:
        _check_devices(func, args, kwargs)
    if counts is not None:
        _count(counts, func, name, args, kwargs, to_host)
    if device is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    args_, kwargs_ = _mapped(values_of, (args, kwargs))
    result = func(*args_, **kwargs_)
    if to_host:
        return args[0] if name == "copy_" else _own(result, args_)
    written = [
        argument.name for argument in func._schema.arguments if argument.alias_info and argument.is_write
    ]
    if written and func._schema.returns:  # in place or into `out`: the very tensors that were given
        named = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
        given = [named[name] for name in written]
        return given[0] if len(func._schema.returns) == 1 else tuple(given)
    if device is not None and name in COPIES:
        result = _own(result, args_)
    return _mapped(OnDevice, result)


def _own(result: Tensor, args: Any) -> Tensor:
    """A copy between devices is never the source itself."""
    return result.clone() if result is args[0] else result


def _mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """`function` of every tensor among an operation's arguments or results."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, list | tuple):
        return type(value)(_mapped(function, item) for item in value)
    if isinstance(value, dict):
        return {key: _mapped(function, item) for key, item in value.items()}
    return value


def _tensors(value: Any) -> list[Tensor]:
    """Every tensor among an operation's arguments."""
    found: list[Tensor] = []
    _mapped(lambda tensor: found.append(tensor) or tensor, value)
    return found


def _leads_to_host(name: str, args: Any, device: Any) -> bool:
    if name == "_to_copy":
        return device is not None and torch.device(device) != DEVICE
    return not isinstance(args[0], OnDevice)


def _check_devices(func: Any, args: Any, kwargs: dict[str, Any]) -> None:
    """Raise RuntimeError, as a card does, for tensors of both devices; a number may be the host's."""
    if func.overloadpacket.__name__ in INDEXING and isinstance(args[0], OnDevice):
        args = (args[0], *args[2:])  # indices may be the host's, too
    tensors = _tensors((args, kwargs))
    here = any(x.dim() > 0 and not isinstance(x, OnDevice) for x in tensors)
    if here and any(isinstance(x, OnDevice) for x in tensors):
        raise RuntimeError(f"{func}: expected all tensors on one device, found cpu and the simulated one")


def _count(counts: Counts, func: Any, name: str, args: Any, kwargs: dict[str, Any], to_host: bool) -> None:
    """Add an operation, and what the host waits for in it."""
    if not all(r.alias_info and not r.alias_info.is_write for r in func._schema.returns):
        counts.operations += 1
    if name in COPIES:
        source = args[1] if name == "copy_" else args[0]
        waits = not (kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2]))
        if to_host and isinstance(source, OnDevice) and waits:
            counts.waits[cause(), "copy to the host"] += 1
        elif not to_host and not isinstance(source, OnDevice) and waits and source.dim() > 0:
            counts.host_data[cause(), "copy from the host"] += 1
    elif name in SIZED_BY_VALUES:
        counts.waits[cause(), "item" if name == "_local_scalar_dense" else name] += 1
    elif name == "repeat_interleave" and func._overloadname == "Tensor" and kwargs.get("output_size") is None:
        counts.waits[cause(), name] += 1
    elif name in INDEXING:
        indices = _tensors(args[1])
        if any(x.dtype == torch.bool for x in indices):
            counts.waits[cause(), "boolean index"] += 1
        if any(not isinstance(x, OnDevice) for x in indices):
            counts.host_data[cause(), "index from the host"] += 1


def cause() -> Cause:
    """The innermost line of the project that is executed; of a backward pass, that which started it."""
    frame, library = sys._getframe(1), False
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if PROJECT in path.parents and path not in PASSED:
            return Cause(f"{path.relative_to(PROJECT.parent)}:{frame.f_lineno}", library)
        library = library or any(name in str(path) for name in LIBRARIES)
        frame = frame.f_back
    return Cause("", True)
