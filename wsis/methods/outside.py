"""Methods from outside of the package: entry points of installed ones, and what the user includes.

A package registers `name = "module:INFO"` in the entry point group `wsis.methods`. A file or a folder is
named in the environment variable WSIS_INCLUDE (`--include`), which reaches every process of a workflow.
A file defines INFO and may hold the network, too. A folder is a package with an info.py: it is read before
recipes have their keys, so that it can bring a section, and it imports no torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import NamedTuple

from wsis.errors import WsisError
from wsis.methods.info import Info

GROUP, VARIABLE = "wsis.methods", "WSIS_INCLUDE"


class Source(NamedTuple):
    """Where an INFO comes from: a name for messages, whether it is an info.py, and what gets it."""

    name: str
    early: bool
    load: Callable[[], object]


def include(paths: list[Path]) -> None:
    """Add files or folders to those that this process and its children include."""
    there = os.environ.get(VARIABLE, "").split(os.pathsep)
    os.environ[VARIABLE] = os.pathsep.join(filter(None, [*there, *(str(path.resolve()) for path in paths)]))


def outside(early: bool) -> Iterator[Info]:
    """What methods from outside say of themselves: those with an info.py (early), or the others.

    Raises WsisError for one that can't be had.
    """
    for source in _sources():
        if source.early != early:
            continue
        try:
            info = source.load()
        except WsisError:
            raise
        except Exception as error:  # of somebody else's code
            raise WsisError(f"{source.name}: {type(error).__name__}: {error}") from error
        if not isinstance(info, Info):
            raise WsisError(f"{source.name}: no INFO = Info(name=..., network=...) of wsis.methods.info")
        if info.section and not early:
            raise WsisError(f"{source.name}: a method with a section of its own has its INFO in an info.py")
        yield info


def _sources() -> Iterator[Source]:
    for point in entry_points(group=GROUP):
        name = f"entry point {point.name} = {point.value}"
        yield Source(name, point.module.rpartition(".")[2] == "info", point.load)
    for word in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        path = Path(word).resolve()
        yield Source(f"{VARIABLE}: {path}", path.is_dir(), lambda path=path: _included(path))


def _included(path: Path) -> object:
    """INFO of a file or of a folder's info.py. Its module has the name of the file or folder."""
    folder, name = path.is_dir(), path.stem
    file = path / "__init__.py" if folder else path
    if not file.is_file() or file.suffix != ".py" or not name.isidentifier():
        raise WsisError(f"{VARIABLE}: {path} is neither a .py file nor a package")
    installed = find_spec(name)
    if installed is not None and installed.origin != str(file):
        raise WsisError(f"{VARIABLE}: {path} has the name of an installed module: rename it")
    if name not in sys.modules:
        spec = spec_from_file_location(name, file, submodule_search_locations=[str(path)] if folder else None)
        sys.modules[name] = module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[name])
        except Exception:
            del sys.modules[name]
            raise
    return getattr(import_module(f"{name}.info" if folder else name), "INFO", None)
