"""wsis: a reproduction harness for weakly-supervised instance segmentation."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from wsis.trained.model import Model

try:
    __version__ = version("wsis")  # of the last git tag when it was installed
except PackageNotFoundError:  # sources that nobody installed
    __version__ = "0+unknown"


def load(folder: str | Path, device: str | None = None) -> Model:
    """The trained run in a folder, whose `predict(image)` gives instances; nothing else is needed.

    device: "cpu", "cuda", "cuda:1", "mps"; None: a graphics card where there is one. Raises WsisError for a
    folder that is none of a trained run.
    """
    from wsis.trained.model import Model  # torch is imported by those that need it

    return Model(folder, device)
