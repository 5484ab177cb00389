"""Where a training starts: fresh, from a parent's weights, where a warm-up stopped, or from a checkpoint.

A checkpoint holds what all ranks share; what each rank has of its own (a method's memory, batch norm's
statistics of its share of the images) lies in a file a rank beside it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from wsis.declare.recipe import Recipe
from wsis.engine.checkpoint import continue_parent, init_from_parent, load_local


def begin(recipe: Recipe, method: nn.Module, parent: Path | None) -> tuple[dict[str, Any] | None, str]:
    """Give a method its first weights, from the model.pt `parent` where the recipe has one.

    Returns the parent's content when the recipe continues it (`init.iteration`), whose optimiser goes on, and
    a sentence about what only one of the two has ('' when they fit).
    """
    started, odd = None, []
    if parent is not None and recipe.init is not None and recipe.init.iteration:
        started, odd = continue_parent(method, parent, recipe.init.iteration)
    elif parent is not None:
        own = method.mask_part if recipe.model.trained == "masks" else ()
        odd = init_from_parent(method, parent, own)
        odd = [name for name in odd if not name[2:].startswith(own)]  # a base's masks' part may be another
    if hasattr(method, "begin"):
        method.begin()
    parts = Counter(name.split(".")[0] for name in odd)
    told = ", ".join(part if n == 1 else f"{part} ({n} tensors)" for part, n in parts.items())
    return started, f"not common with its parent: {told}" if odd else ""


def norm_buffers(method: nn.Module) -> dict[str, Tensor]:
    """Batch norm's running statistics by name; they live on each rank, and are averaged at the end."""
    return {
        f"{name}.{key}": buffer
        for name, module in method.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
        for key, buffer in module.named_buffers(recurse=False)
    }


def local_state(method: nn.Module, world: int) -> dict[str, Any]:
    """What this rank has of its own; empty when the common checkpoint holds everything."""
    state: dict[str, Any] = {}
    if world > 1:
        state["norms"] = {name: value.cpu() for name, value in norm_buffers(method).items()}
    if hasattr(method, "local_state"):
        state["method"] = method.local_state()
    return state


def restore_local(method: nn.Module, world: int, folder: Path, iteration: int, rank: int) -> None:
    """Bring back what `local_state` gave at `iteration`, where there was anything to save."""
    if not local_state(method, world):
        return
    state = load_local(folder, iteration, rank) or {}
    for name, buffer in norm_buffers(method).items():
        if name in state.get("norms", {}):
            buffer.copy_(state["norms"][name])
    if "method" in state:
        method.load_local_state(state["method"])
