"""What a scale names must be there: keys of recipes, methods, their heads, papers and backbones."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from wsis.declare.load import ROOT, DeclarationError, load_papers
from wsis.declare.settings import check_settings, is_text, types_of
from wsis.declare.specs.model import ModelSpec
from wsis.errors import nearest_first, shortened
from wsis.methods import heads, infos
from wsis.nn.backbones import BACKBONES

if TYPE_CHECKING:
    from wsis.declare.scale import Scale

YOURS = "; one of yours needs --include PATH before the command, or WSIS_INCLUDE"
TRAINED = get_args(ModelSpec.model_fields["trained"].annotation)


def check_names(scale: Scale, where: str, root: Path) -> None:
    """Raise DeclarationError, one line that begins with `where` and the key, for a name of nothing.

    Papers are those of `root`, and those that the package carries, whose scales it may share.
    """
    for key, overrides in scale.overrides():
        check_settings(overrides, f"{where}: {key}")
    papers = {**load_papers(root), **load_papers(ROOT)}
    for key, names in _papers(scale):
        for name in names:
            _check(name, papers, "paper", f"{where}: {key}")
    for key, names in _methods(scale):
        for name in names:
            _check(name, infos(), "method", f"{where}: {key}", YOURS)
    for key in ("methods", "substitute_for"):
        for name in getattr(scale, key):
            _check_method_on(name, f"{where}: {key}", costs=False)
    _check_costs(scale, f"{where}: cost")
    _check_tables(scale, where)


def _check_tables(scale: Scale, where: str) -> None:
    """Keys of what stands for published values, of what is divided, and of what may be replaced."""
    for dotted, table in scale.substitute.items():
        _check_substitute(dotted, table, f"{where}: substitute")
    for name, tables in scale.substitute_for.items():
        for dotted, table in tables.items():
            _check_substitute(dotted, table, f"{where}: substitute_for.{name}")
    for dotted in scale.divide:
        if types_of(dotted, f"{where}: divide") != [int]:
            raise DeclarationError(
                f"{where}: divide: {dotted} is not always a whole number, as model.channels is"
            )
    for dotted in scale.overrule:
        types_of(dotted, f"{where}: overrule")


def _methods(scale: Scale) -> Iterator[tuple[str, Collection[str]]]:
    """(key, names of methods alone that stand there)."""
    yield "cost.methods", scale.cost.methods
    for name, warmup in (scale.fork.warmups if scale.fork else {}).items():
        yield f"fork.warmups.{name}.methods", warmup.methods


def _papers(scale: Scale) -> Iterator[tuple[str, Collection[str]]]:
    """(key, names of papers that stand there)."""
    yield "papers", scale.papers
    yield "seeds_for", scale.seeds_for
    for name, warmup in (scale.fork.warmups if scale.fork else {}).items():
        yield f"fork.warmups.{name}.papers", warmup.papers


def _check_costs(scale: Scale, where: str) -> None:
    for key in ("seconds_per_image", "megabytes"):
        for name in getattr(scale.cost, key) or ():
            _check(name, BACKBONES, "backbone", f"{where}.{key}")
    for key in ("step", "run", "measured"):
        for name in getattr(scale.cost, key) or ():
            _check_method_on(name, f"{where}.{key}", costs=True)


def _check_substitute(dotted: str, table: dict[str, str], where: str) -> None:
    """Both the published value and that which stands for it must be values of a key of text."""
    if not all(map(is_text, types_of(dotted, where))):
        raise DeclarationError(f"{where}: {dotted} is no key whose values are text, such as model.backbone")
    if "." not in dotted:
        raise DeclarationError(f"{where}: {dotted} says what a recipe is, for which nothing stands")
    for value in dict.fromkeys((*table, *table.values())):
        check_settings({dotted: value}, where)


def _check_method_on(name: str, where: str, *, costs: bool) -> None:
    """'<method>', or '<method>/<model.head>'; of costs, '<method>/<model.trained or backbone>' as well."""
    method, slash, part = name.partition("/")
    _check(method, infos(), "method", where, YOURS)
    if slash:
        there = [head for head in heads() if infos()[method].has_head(head)]
        there += [*TRAINED, *BACKBONES] if costs else []
        kind = "head, backbone or value of model.trained" if costs else "head"
        _check(part, there, f"{kind} of {method}", where)


def _check(name: str, there: Collection[str], kind: str, where: str, advice: str = "") -> None:
    if name not in there:
        near = nearest_first(name, there)
        raise DeclarationError(f"{where}: no {kind} '{shortened(name)}' (there are: {near}){advice}")
