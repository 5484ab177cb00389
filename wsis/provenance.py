"""Fingerprint of the code behind a method, so that a report can say which numbers old code produced.

Only what decides a training's numbers counts: the method's own sources and what they import from
`wsis.methods`, `wsis.nn`, `wsis.losses` and `wsis.extract`; for pseudo masks and boundary maps also
what measures them, for proxy masks that alone. Sources are parsed, never imported, and compared without
comments, docstrings and layout.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Sequence
from pathlib import Path

from wsis.errors import WsisError

ROOT = Path(__file__).resolve().parents[1]  # the folder that holds the package `wsis`
_COUNTED = ("wsis.methods", "wsis.nn", "wsis.losses", "wsis.extract")
# What decides a method's numbers outside of its own sources: labels, and the choice of a threshold.
_BESIDE = {
    "baiseg": ("wsis.methods.baiseg.threshold", "wsis.methods.baiseg.semantic", "wsis.methods.baiseg.batches")
}
_MEASURING = ("wsis.methods.sim.quality", "wsis.methods.sim.pseudo_quality")
_MEASURING_PROXIES = (
    "wsis.methods.boxcaseg.proxy_rows", "wsis.methods.boxcaseg.proxy_quality",
    "wsis.evaluation.class_agnostic", "wsis.evaluation.rle",
    "wsis.proxy.merge", "wsis.proxy.agreement",
)  # fmt: skip
_MEASURING_BOUNDARIES = (
    "wsis.methods.baiseg.boundary",
    "wsis.evaluation.rle",
    "wsis.methods.baiseg.boundary_quality",
)


def code_hash(method: str, root: Path = ROOT) -> str:
    """16 hex digits over the sources of `wsis/methods/<method>` (file or folder) and of what they import.

    Equal before and after an edit of comments, docstrings or layout, and after one of another method.
    Raises WsisError when the method has no sources or one of them is not valid Python.
    """
    return _hash(_method(method, root), root)


def pseudo_hash(root: Path = ROOT) -> str:
    """The same for the measures of SIM's pseudo masks: SIM's code, and that which measures."""
    measuring = _there(_MEASURING, root)
    return _hash([*_method("sim", root), *measuring], root)


def proxy_hash(root: Path = ROOT) -> str:
    """The same for the measures of proxy masks: what measures them. A run has written the masks."""
    return _hash(_there(_MEASURING_PROXIES, root), root)


def boundary_hash(root: Path = ROOT) -> str:
    """The same for the measures of boundary maps: BAISeg's code, and that which measures."""
    measuring = _there(_MEASURING_BOUNDARIES, root)
    return _hash([*_method("baiseg", root), *measuring], root)


def _there(names: Sequence[str], root: Path) -> list[str]:
    for name in names:
        if _file(name, root) is None:
            raise WsisError(f"{root}: no sources of {name}")
    return [*names]


def _method(method: str, root: Path) -> list[str]:
    start = f"wsis.methods.{method}"
    if _file(start, root) is None:
        raise WsisError(f"{root / 'wsis' / 'methods'}: no sources of a method '{method}'")
    beside = [name for name in _BESIDE.get(method, ()) if _file(name, root)]
    return [*_modules(start, root), *beside]


def _hash(todo: list[str], root: Path) -> str:
    """Over these modules and all counted ones that they import."""
    texts: dict[str, str] = {}
    while todo:
        name = todo.pop()
        if name in texts:
            continue
        tree = _parse(_file(name, root))
        todo += [found for found in _imports(tree, name, root) if found not in texts]
        texts[name] = _bare(tree)
    digest = hashlib.sha256()
    for name in sorted(texts):
        digest.update(f"{name}\n{texts[name]}\n".encode())
    return digest.hexdigest()[:16]


def _file(name: str, root: Path) -> Path | None:
    base = root.joinpath(*name.split("."))
    for path in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _modules(name: str, root: Path) -> list[str]:
    """`name` and, where it is a package, every module below it."""
    folder = root.joinpath(*name.split("."))
    below = sorted(folder.rglob("*.py")) if (folder / "__init__.py").is_file() else []
    inner = (path.relative_to(root).with_suffix("").as_posix().replace("/", ".") for path in below)
    return [name, *(module for module in inner if not module.endswith(".__init__"))]


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise WsisError(f"{path}: not valid Python: {error}") from None


def _imports(tree: ast.Module, name: str, root: Path) -> list[str]:
    """Counted modules that the module `name` imports, anywhere in it."""
    package = _file(name, root).name == "__init__.py"
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                parts = name.split(".")
                parts = parts[: len(parts) - node.level + package]
                source = ".".join([*parts, source]).rstrip(".")
            # `from package import module` names a module, `from module import name` does not.
            inner = [f"{source}.{alias.name}" for alias in node.names]
            found += [module if _file(module, root) else source for module in inner]
    # The package of all methods only dispatches between them: following it would tie each to all others.
    return sorted({module for module in found if _counted(module) and _file(module, root)})


def _counted(name: str) -> bool:
    return name != "wsis.methods" and any(name == top or name.startswith(f"{top}.") for top in _COUNTED)


def _bare(tree: ast.Module) -> str:
    """The code without docstrings, comments and layout."""
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        first = node.body[0] if node.body else None
        if (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(ast.fix_missing_locations(tree))
