"""Atomic checkpoints: a run's folder holds the last one and the one before it, never half of one.

Each has a checksum (`wsis.checksums`): one that is damaged is passed over.

Everything stored is a tensor or a plain type, so that `torch.load(weights_only=True)` reads it.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from wsis.checksums import fault, move, remove, sealed
from wsis.declare.stored import MODEL, OLD_MODEL
from wsis.errors import WsisError
from wsis.methods.weights import ABOUT, OPTIMIZER, strides

LAST, PREVIOUS = "last.pt", "previous.pt"
FORMER = {"recipe", "iteration", "model", "optimizer", "scaler", "rng", "resumed", "log", "seconds"}
KEYS = FORMER | {"device", "notes"}  # those of former versions lack these two


def save_atomically(content: Any, path: Path) -> None:
    """`torch.save`; `path` is never half a file."""
    with sealed(path) as file:
        torch.save(content, file)


def save_checkpoint(folder: Path, content: dict[str, Any]) -> None:
    """Keep `content` as the folder's last checkpoint; the former last one becomes the previous one.

    Keys: recipe (id), iteration (steps done), model, optimizer and scaler (state dicts), rng (one state a
    rank), resumed (times), log (bytes of log.jsonl that belong to it), seconds (of the loop so far), device
    (its name), notes (deviations so far). Raises WsisError for weights that are not finite.
    """
    if set(content) != KEYS:
        raise ValueError(f"a checkpoint has the keys {sorted(KEYS)}, not {sorted(content)}")
    check_finite(content["model"], folder / LAST)
    fresh = folder / "fresh.pt"
    save_atomically(content, fresh)
    if (folder / LAST).exists():
        move(folder / LAST, folder / PREVIOUS)
    move(fresh, folder / LAST)


def load_checkpoint(folder: Path, recipe_id: str) -> dict[str, Any] | None:
    """The newest readable checkpoint of `recipe_id`, or None when there is none.

    A damaged file is passed over with a warning, as is one whose weights are not finite, or of which a rank's
    own file is damaged. Raises WsisError for another recipe's.
    """
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            if odd := fault(path):
                raise ValueError(f"it {odd}")
            content = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(content, dict) or not set(content) >= FORMER:
                raise ValueError("it lacks some of a checkpoint's keys")
            if odd := not_finite(content["model"]):
                raise ValueError(f"{odd} is not finite")
            for local in sorted(folder.glob(f"local-{content['iteration']}-*.pt")):
                if odd := fault(local):
                    raise ValueError(f"{local.name} {odd}")
        except Exception as error:  # a damaged file can fail in any way: zip, pickle, storage
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            warnings.warn(f"{path}: unreadable checkpoint passed over ({reason})", stacklevel=2)
            continue
        if content["recipe"] != recipe_id:
            raise WsisError(
                f"{path}: checkpoint of recipe {content['recipe']}, but this run is {recipe_id};"
                f" remove {folder} to start afresh"
            )
        return content
    return None


def not_finite(state: dict[str, Tensor]) -> str | None:
    """Name of the first tensor with a NaN or an infinity; None where all are finite."""
    return next((name for name, value in state.items() if not value.isfinite().all()), None)


def check_finite(state: dict[str, Tensor], path: Path) -> None:
    """Raise WsisError where weights that are about to be written to `path` are not finite."""
    if odd := not_finite(state):
        raise WsisError(f"{path}: not written, {odd} is not finite; a smaller learning rate may help")


def save_local(folder: Path, iteration: int, rank: int, state: dict[str, Any]) -> None:
    """What only this rank has at `iteration` (memories, running statistics), beside the common checkpoint.

    Every rank writes its file before the first rank writes the checkpoint that needs them.
    """
    save_atomically(state, folder / f"local-{iteration}-{rank}.pt")


def load_local(folder: Path, iteration: int, rank: int) -> dict[str, Any] | None:
    """What `save_local` wrote; None, with a warning, when it is missing or unreadable."""
    path = folder / f"local-{iteration}-{rank}.pt"
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = "it is missing" if isinstance(error, FileNotFoundError) else "it is unreadable"
        warnings.warn(f"{path}: {reason}; this process starts with an empty memory", stacklevel=2)
        return None


def prune_local(folder: Path, keep: set[int]) -> None:
    """Remove the ranks' files of all iterations but `keep`, those of the last and the previous checkpoint.

    A file can be newer than both: its process was interrupted before the checkpoint was written. Temporary
    files of killed processes go, too.
    """
    for path in folder.glob("local-*-*.pt"):
        if int(path.stem.split("-")[1]) not in keep:
            remove(path)
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def save_model(
    folder: Path, recipe_id: str, iteration: int, model: nn.Module, more: dict[str, Any] | None = None
) -> None:
    """Write a run's weights: model.safetensors, which `wsis.methods.weights.load_model` reads.

    more: "optimizer" and "scaler", which a warm-up leaves in optimizer.pt for those that continue it. A file
    that a former training left in their place goes. Raises WsisError for weights that are not finite.
    """
    check_finite(model.state_dict(), folder / MODEL)
    state = {
        name: value.cpu().clone(memory_format=torch.contiguous_format)  # each a memory of its own
        for name, value in model.state_dict().items()
    }
    if more is not None:
        save_atomically({"iteration": iteration, **more}, folder / OPTIMIZER)
    about = json.dumps({"recipe": recipe_id, "iteration": iteration, "strides": strides(model)})
    with sealed(folder / MODEL) as file:
        file.write(safetensors.torch.save(state, {ABOUT: about}))  # several keys have no order
    (folder / OLD_MODEL).unlink(missing_ok=True)
    if more is None:
        remove(folder / OPTIMIZER)
