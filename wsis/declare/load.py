"""Read `ablations/`: safe YAML in, validated tables, figures, errata and recipes out."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError

from wsis.carried import carried
from wsis.declare.base import Overrides, Spec
from wsis.declare.paper import Paper
from wsis.declare.recipe import Recipe
from wsis.declare.table import Erratum, Figure, Table
from wsis.documents import DeclarationError, read_yaml
from wsis.errors import brief, nearest_first, shortened

ROOT = carried("ablations")
S = TypeVar("S", bound=Spec)
FOLDER = r"[A-Za-z0-9_]{1,100}"  # what a paper's is called
TOLD = 6  # complaints about one object


def parse(kind: type[S], tree: Any, where: str) -> S:
    """Validate `tree` as `kind`; every complaint names `where`, the key and what was expected."""
    try:
        return kind.model_validate_json(as_json(tree, where))
    except ValidationError as error:
        raise DeclarationError(f"{where}: {complaints(kind, error.errors())}") from None


def as_json(tree: Any, where: str) -> str:
    """`tree` as JSON text. Raises DeclarationError with the key of what is none, such as a date."""
    if text := unfit(tree):
        raise DeclarationError(f"{where}: {text}")
    return json.dumps(tree)


def unfit(tree: Any, key: str = "") -> str | None:
    """Dotted key of the first key or value that is no JSON, and what it is; None if all are."""
    if isinstance(tree, (dict, list)):
        for name, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            inner = f"{key}.{name}" if key else str(name)
            if hit := unfit(name, inner) or unfit(value, inner):
                return hit
        return None
    key = shortened(key or "(top level)")
    if isinstance(tree, str) and re.search("[\ud800-\udfff]", tree):
        return f"{key}: half a character, which is no text"
    if not isinstance(tree, (str, int, float, bool, type(None))):
        return f"{key}: YAML reads a {type(tree).__name__}; quote it if it is meant as text"
    return None


def _keys(kind: Any, place: Sequence[str | int]) -> list[str]:
    """Keys of the object at a place inside of a declared kind, which may be any annotation of a field."""
    if isinstance(kind, type) and issubclass(kind, Spec):
        if not place:
            return list(kind.model_fields)
        return (
            _keys(kind.model_fields[place[0]].annotation, place[1:]) if place[0] in kind.model_fields else []
        )
    rest = place[1:] if get_origin(kind) in (tuple, dict) else place
    return next((keys for inner in get_args(kind) if (keys := _keys(inner, rest))), [])


def complaints(kind: type[Spec], errors: Sequence[Any]) -> str:
    """The first few complaints about a declared object, in one line."""
    more = f"; and {len(errors) - TOLD} more" if len(errors) > TOLD else ""
    return "; ".join(complaint(kind, error) for error in errors[:TOLD]) + more


def complaint(kind: type[Spec], error: Any) -> str:
    key = shortened(".".join(str(part) for part in error["loc"]) or "(top level)")
    message = error["msg"].removeprefix("Value error, ")
    given = error.get("input")
    if error["type"] == "extra_forbidden":
        *place, name = error["loc"]
        message = f"unknown key (there are: {nearest_first(str(name), _keys(kind, place))})"
    elif error["type"] != "missing" and error["loc"]:
        message += f", got {brief(given)}"
        number = error["type"].startswith(("float", "int"))
        if number and isinstance(given, str) and re.fullmatch(r"[-+]?\d+[eE][-+]?\d+", given):
            message += " (YAML reads 1e-4 as text: write 1.0e-4)"
    return f"{key}: {message}"


def load_table(path: Path) -> Table:
    return parse(Table, read_yaml(path), str(path))


@cache
def load_papers(root: Path = ROOT) -> dict[str, Paper]:
    """All papers by the name of their folder: every folder with a paper.yaml is one."""
    papers = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and path.name != "scales"):
        path = folder / "paper.yaml"
        if path.exists():
            if not re.fullmatch(FOLDER, folder.name):
                raise DeclarationError(f"{folder}: a paper's folder is named with letters, digits and _")
            papers[folder.name] = parse(Paper, read_yaml(path), str(path))
        elif tables := sorted(file.name for file in folder.glob("table*.yaml")):
            raise DeclarationError(f"{folder}: {', '.join(tables)} of no paper: paper.yaml names it")
    last = max((paper.order or 0 for paper in papers.values()), default=0) + 1
    return dict(sorted(papers.items(), key=lambda item: last if item[1].order is None else item[1].order))


@cache
def load_tables(root: Path = ROOT) -> dict[str, Table]:
    """All tables by key, in the papers' order; claims are checked against the cells they name."""
    tables: dict[str, Table] = {}
    for paper in load_papers(root):
        paths = sorted((root / paper).glob("table*.yaml"), key=_order)
        for path in paths:
            table = load_table(path)
            if table.file != path.name or table.paper != paper:
                raise DeclarationError(f"{path}: declares {table.key}, which belongs elsewhere")
            tables[table.key] = table
    for table in tables.values():
        check_claims(table, tables, root / table.paper / table.file)
    return tables


def check_claims(table: Table, tables: dict[str, Table], where: Path) -> None:
    """Raise DeclarationError when a claim names a table, row or metric that does not exist."""
    ids = [claim.id for claim in table.claims]
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise DeclarationError(f"{where}: claim id given twice: {', '.join(twice)}")
    for claim in table.claims:
        for cell in claim.cells:
            other = tables.get(cell.table or table.key)
            if other is None:
                raise DeclarationError(f"{where}: claims.{claim.id}: no table '{cell.table}'")
            if cell.row not in other.labels:
                raise DeclarationError(
                    f"{where}: claims.{claim.id}: {other.key} has no row '{cell.row}'"
                    f" (rows: {', '.join(other.labels)})"
                )
            metric = cell.metric or claim.metric
            if metric not in other.metrics:
                raise DeclarationError(
                    f"{where}: claims.{claim.id}: {other.key} has no column '{metric}'"
                    f" (columns: {', '.join(other.metrics)})"
                )


@cache
def load_figures(root: Path = ROOT) -> dict[str, Figure]:
    """All figures by '<paper>/figure<N>'."""
    paths = [path for paper in load_papers(root) for path in sorted((root / paper).glob("figure*.yaml"))]
    figures = [parse(Figure, read_yaml(path), str(path)) for path in paths]
    return {f"{figure.paper}/figure{figure.figure}": figure for figure in figures}


@cache
def load_errata(root: Path = ROOT) -> dict[str, list[Erratum]]:
    """Errata by paper."""
    errata = {}
    for paper in load_papers(root):
        path = root / paper / "errata.yaml"
        entries = read_yaml(path) if path.exists() else []
        if not isinstance(entries, list):
            raise DeclarationError(f"{path}: expected a list of errata")
        errata[paper] = [parse(Erratum, tree, f"{path}: entry {i}") for i, tree in enumerate(entries)]
    return errata


class Named(Spec):
    """What a recipe.yaml holds."""

    recipes: dict[str, Overrides | None]


@cache
def load_recipes(paper: str, root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """The paper's named base recipes as nested dictionaries, `extends` followed; each is valid."""
    path = root / paper / "recipe.yaml"
    named = parse(Named, {"recipes": read_yaml(path)}, str(path)).recipes
    recipes = {name: _extended(name, named, path, ()) for name in named}
    for name, tree in recipes.items():
        parse(Recipe, tree, f"{path}: {name}")
    return recipes


def load_recipe(paper: str, name: str, where: str, root: Path = ROOT) -> dict[str, Any]:
    """One of `load_recipes`. Raises DeclarationError, which begins with `where`, if it isn't declared."""
    if not re.fullmatch(FOLDER, paper) or not (root / paper / "recipe.yaml").exists():
        there = nearest_first(paper, load_papers(root))
        raise DeclarationError(f"{where}: no recipes of a paper '{shortened(paper)}' (there are: {there})")
    named = load_recipes(paper, root)
    if name not in named:
        there = nearest_first(name, named)
        said = f"{where}: no recipe '{shortened(name)}' in {paper}/recipe.yaml"
        raise DeclarationError(f"{said} (there are: {there})")
    return named[name]


def _extended(name: str, named: dict[str, Any], path: Path, seen: tuple[str, ...]) -> dict[str, Any]:
    if name in seen:
        raise DeclarationError(
            f"{path}: {name}: 'extends' goes round in a circle: {' -> '.join((*seen, name))}"
        )
    if name not in named:
        raise DeclarationError(f"{path}: no recipe '{name}' (there are: {', '.join(named)})")
    tree = dict(named[name] or {})
    parent = tree.pop("extends", None)
    if parent is None:
        return tree
    if not isinstance(parent, str):
        raise DeclarationError(f"{path}: {name}.extends: expected a recipe's name, got {brief(parent)}")
    return merged(_extended(parent, named, path, (*seen, name)), tree)


def merged(base: dict[str, Any], over: Mapping[str, Any], into_null: bool = True) -> dict[str, Any]:
    """`over` laid on `base`; dotted keys of `over` reach into nested dictionaries; neither is changed.

    into_null: whether keys of a section that `base` has switched off (null) switch it on again.
    """
    result = dict(base)
    for key, value in over.items():
        head, _, rest = key.partition(".")
        if rest:
            value = {rest: value}
        there = result.get(head)
        if isinstance(value, dict) and head in result and there is None and not into_null:
            continue
        if isinstance(value, dict) and (rest or isinstance(there, dict)):
            result[head] = merged(there if isinstance(there, dict) else {}, value, into_null)
        else:
            result[head] = value
    return result


def _order(path: Path) -> tuple[int, str]:
    """Numbered tables by their number (10 after 9), then those with other names."""
    name = path.stem.removeprefix("table")
    digits = re.match(r"\d*", name)[0]
    return int(digits) if digits else sys.maxsize, name
