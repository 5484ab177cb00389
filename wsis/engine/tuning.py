"""What makes the steps of a training faster on its device: compiled towers, convolutions that are tried out.

Neither changes a name, a shape or an equation; sums are taken in another order, so that numbers differ by
rounding. Predictions are never compiled: images come in many sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from wsis.errors import WsisError
from wsis.methods.base import Method

BACKEND = "inductor"  # torch.compile's


@contextmanager
def tuned(method: Method, compile: bool) -> Iterator[None]:
    """While a training lasts: its towers compiled, and cuDNN's choice of algorithms for images of one size.

    cuDNN times its algorithms for a shape when it first sees it. That is off where shapes change from step to
    step, and where deterministic algorithms are asked for: what it chooses may differ from start to start.
    """
    before = torch.backends.cudnn.benchmark
    if method.one_size:
        torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
    try:
        with compiled(method) if compile else nullcontext():
            yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextmanager
def compiled(method: Method) -> Iterator[None]:
    """Compile the method's towers in place: modules, names of weights and checkpoints stay as they are.

    Raises WsisError where the method has none, and where torch can't compile them here.
    """
    towers, name = method.towers(), method.recipe.method
    if not towers:
        raise WsisError(f"method '{name}' has nothing to compile: set schedule.compile to false")
    try:
        for tower in towers:
            tower.compile(backend=BACKEND)
    except RuntimeError as error:  # a version of Python or a system that torch.compile doesn't know
        raise _refused(error) from None
    try:
        yield
    except torch._dynamo.exc.TorchDynamoException as error:
        raise _refused(error) from error
    finally:
        for tower in towers:
            tower._compiled_call_impl = None


@contextmanager
def as_written(method: Method) -> Iterator[None]:
    """Without what `compiled` has compiled, for predictions while a training lasts."""
    kept = [(module, module._compiled_call_impl) for module in method.modules()]
    for module, _ in kept:
        module._compiled_call_impl = None
    try:
        yield
    finally:
        for module, call in kept:
            module._compiled_call_impl = call


def _refused(error: Exception) -> WsisError:
    reason = getattr(error, "inner_exception", error)
    first = next((line.strip() for line in str(reason).splitlines() if line.strip()), "")
    return WsisError(
        f"schedule.compile: torch.compile failed: {type(reason).__name__}: {first};"
        " set schedule.compile to false, or install what is missing"
    )
