"""Fingerprint of the code behind a method, so that a report can say which numbers old code produced.

Only what decides numbers counts: the module of a method's network and what that imports, anywhere in it and
in what it imports, of the rooms below (a method's words, pictures, measures and benches are apart). Sources
are parsed, never imported, and compared without comments, docstrings and layout.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from wsis.errors import WsisError
from wsis.methods import info_of
from wsis.nn.backbones import builders

ROOT = Path(__file__).resolve().parents[1]  # the folder that holds the package `wsis`
ROOMS = ("methods", "nn", "losses", "data", "proxy", "evaluation")
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# Dicts of what there is. An entry more changes no other method: they would tie each to all others.
DOORS = frozenset({"wsis.methods", "wsis.nn.backbones"})
APART = frozenset({"info", "spec", "pictures", "sheets", "measures", "bench"})  # modules of a method's room


def code_hash(method: str) -> str:
    """`hash_of` the code that trains a method; WsisError for a name that no method has."""
    return hash_of(training_modules(method))


def training_modules(method: str) -> list[str]:
    """The modules with which a method's training begins: of its network, and of the backbones it may have."""
    info = info_of(method)
    networks = [info.network, *info.networks.values(), *info.providers.values()]
    return [*(network.partition(":")[0] for network in networks), *builders(info.features or ())]


def hash_of(modules: Iterable[str], root: Path = ROOT) -> str:
    """16 hex digits over the sources of these modules and of all that they import (`sources`).

    Equal before and after an edit of comments, docstrings or layout.
    """
    digest = hashlib.sha256()
    for name, path in sorted(sources(modules, root).items()):
        digest.update(f"{name}\n{_parsed(path).code}\n".encode())
    return digest.hexdigest()[:16]


def sources(modules: Iterable[str], root: Path = ROOT) -> dict[str, Path]:
    """Module -> file of these modules and of what they import from the rooms that count.

    Of a module from outside of `wsis` its own package counts, too. Raises WsisError for a module without
    sources, and for one that is not valid Python.
    """
    todo = list(modules)
    counted = {*(f"wsis.{room}" for room in ROOMS), *(name.split(".")[0] for name in todo)} - {"wsis"}
    files: dict[str, Path] = {}
    while todo:
        name = todo.pop()
        path = _file(name, root)
        if path is None:
            raise WsisError(f"{root}: no sources of {name}")
        files[name] = path
        for candidates in _imported(name, path):
            there = (each for each in candidates if _counts(each, counted) and _file(each, root))
            module = next(there, None)
            if module is not None and module not in files:
                todo.append(module)
    return files


def _counts(name: str, counted: set[str]) -> bool:
    if name in DOORS or (name.startswith("wsis.methods.") and name.rpartition(".")[2] in APART):
        return False
    return any(name == top or name.startswith(f"{top}.") for top in counted)


def _file(name: str, root: Path) -> Path | None:
    """The file of a module below `root`, or of one that is installed; None where there is none."""
    base = root.joinpath(*name.split("."))
    for path in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None if name.split(".")[0] == "wsis" else _installed(name)


@cache
def _installed(name: str) -> Path | None:
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return None
    path = Path(spec.origin) if spec and spec.origin else None
    return path if path and path.suffix == ".py" else None


def _imported(name: str, path: Path) -> list[Sequence[str]]:
    """What the module `name` imports: for each import the modules that it may mean, the likeliest first."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    candidates: list[Sequence[str]] = []
    for level, source, names in _parsed(path).imports:
        if level:
            parts = package[: len(package) - level + 1]
            source = ".".join([*parts, source] if source else parts)
        # `from package import module` names a module, `from module import name` does not.
        candidates += [(f"{source}.{each}", source) if each else (source,) for each in names]
    return candidates


class _Parsed(NamedTuple):
    code: str  # without docstrings, comments and layout
    imports: list[tuple[int, str, list[str]]]  # level, source, names ('' for a plain import)


def _parsed(path: Path) -> _Parsed:
    return _parsed_at(path, path.stat().st_mtime_ns, path.stat().st_size)


@cache
def _parsed_at(path: Path, time: int, size: int) -> _Parsed:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise WsisError(f"{path}: not valid Python: {error}") from None
    imports: list[tuple[int, str, list[str]]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(0, alias.name, [""]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports.append((node.level, node.module or "", [alias.name for alias in node.names]))
        elif isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return _Parsed(ast.unparse(ast.fix_missing_locations(tree)), imports)
