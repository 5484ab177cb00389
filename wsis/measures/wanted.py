"""What tables want measured, and what of it is to be done. No torch here."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from wsis.data.places import shapes_root
from wsis.declare.load import load_figures
from wsis.errors import WsisError
from wsis.measures.file import Measurements, path_of
from wsis.measures.measure import Asked, MeasureSet, Place
from wsis.measures.registry import set_of, sets

if TYPE_CHECKING:
    from wsis.plan import Plan

Wanted = dict[str, dict[str, dict[str, Asked]]]  # set -> key -> case -> the first row that asks for it


@dataclass(frozen=True)
class Measuring:
    """What one process measures, one key after another.

    needs: runs to be trained first; source: a run whose images are read, None where none are; rank: of the
    first table, in the order in which tables are wanted, that shows one of the numbers.
    """

    set: str
    keys: tuple[str, ...]
    needs: tuple[str, ...]
    source: str | None
    rank: int

    @property
    def id(self) -> str:
        return f"{self.set}_{self.keys[0]}"


def wanted(plan: Plan, tables: Iterable[str]) -> Wanted:
    """What the columns and the claims of these tables (keys) show, by the rows' places."""
    asked: dict[tuple[str, str], list[Asked]] = {}
    result: Wanted = {}
    for table, label, metric in dict.fromkeys(_cells(plan, tables)):
        if (its_set := set_of(metric)) is None:
            continue
        if (table, label) not in asked:
            asked[table, label] = rows_asked(plan, table, label)
        for each in of_set(asked[table, label], its_set):
            if isinstance(place := its_set.place(each, metric), Place):
                result.setdefault(its_set.name, {}).setdefault(place.key, {}).setdefault(place.case, each)
    return result


def rows_asked(plan: Plan, table: str, label: str) -> list[Asked]:
    """A trained row by its seeds' runs, or once without a run where it has none; nothing for a quoted row."""
    declared = plan.tables[table]
    row = declared.row(label)
    if row.kind == "quote":
        return []
    runs = [plan.runs[run] for _, run in sorted(plan.row_runs(table, label).items())]
    return [Asked(plan, declared, row, run) for run in runs or [None]]


def of_set(asked: list[Asked], its_set: MeasureSet) -> list[Asked]:
    """The seeds that a set measures: all if it needs runs, else the first; none where there is no run."""
    if its_set.needs == "run":
        return [each for each in asked if each.run]
    return [each for each in asked[:1] if each.run or its_set.needs == "recipe"]


def todo(plan: Plan, tables: Iterable[str], base: Path, trained: Collection[str] | None) -> list[Measuring]:
    """The processes that measure what these tables want and `base`, results/<scale>, lacks or holds too old.

    trained: runs that need no training; None: measure everything anew. Runs of one data root and seed share a
    process, and so does what needs no run: starting Python takes as long as measuring a small run.
    """
    asked: dict[tuple[str, str], dict[str, Asked]] = {}
    ranks: dict[tuple[str, str], int] = {}
    for rank, table in enumerate(tables):
        for name, keys in wanted(plan, [table]).items():
            for key, cases in keys.items():
                ranks.setdefault((name, key), rank)
                asked.setdefault((name, key), {}).update(cases)
    for name in {figure.measure for figure in load_figures(plan.root).values()}:
        if key := first_key(plan, name):
            asked.setdefault((name, key), wanted(plan, plan.tables)[name][key])
    there, groups = Measurements(base), {}
    for (name, key), cases in asked.items():
        its_set = sets()[name]
        if trained is not None and finished(there, its_set, key, cases, trained):
            continue
        source = _source(its_set, key, cases)
        recipe = plan.runs[source].recipe if source else None
        images = (shapes_root(recipe), recipe.data.dataset, recipe.seed) if recipe else None
        rank = ranks[name, key] if its_set.needs == "run" else 0
        groups.setdefault((name, images, rank), (source, []))[1].append(key)
    return [
        Measuring(name, tuple(keys), tuple(keys) if sets()[name].needs == "run" else (), source, rank)
        for (name, _, rank), (source, keys) in groups.items()
    ]


def first_key(plan: Plan, name: str) -> str | None:
    """The key of a set whose curves figures show: its first one; None where no table has such a measure."""
    return next(iter(wanted(plan, plan.tables).get(name, {})), None)


def chosen(plan: Plan, words: list[str]) -> Wanted:
    """What `words`, names of sets, tables and keys, stand for; everything where there are none.

    Where sets and tables are named, only what both want. Raises WsisError for any other word.
    """
    names = [word for word in words if word in sets()]
    tables = [word for word in words if word in plan.tables]
    keys = [word for word in words if word not in (*names, *tables)]
    everything = wanted(plan, plan.tables)
    shown = {} if keys and not tables else wanted(plan, tables or plan.tables)
    result: Wanted = {}
    for name, cases in everything.items():
        if names and name not in names:
            continue
        of_keys = {key: cases[key] for key in keys if key in cases}
        if its_keys := {key: cases[key] for key in shown.get(name, {})} | of_keys:
            result[name] = its_keys
    known = {key for each in result.values() for key in each}
    there = [key for name in names or everything for key in everything.get(name, {})]
    for word in keys:
        if word not in known:
            near = get_close_matches(word, [*sets(), *plan.tables, *there], n=4, cutoff=0.3)
            raise WsisError(
                f"{word}: neither a table nor what {' or '.join(names) or 'any set'} measures at"
                f" {plan.scale.name} with these seeds (the nearest are: {', '.join(near) or 'none'})"
            )
    return result


def _cells(plan: Plan, tables: Iterable[str]) -> Iterable[tuple[str, str, str]]:
    """(table, row, metric) that these tables show, or their claims read, perhaps in others."""
    for key in tables:
        table = plan.tables[key]
        for row in table.rows:
            yield from ((key, row.label, metric) for metric in table.metrics)
        for claim in table.claims:
            for cell in claim.cells:
                yield cell.table or key, cell.row, cell.metric or claim.metric


def _source(its_set: MeasureSet, key: str, cases: dict[str, Asked]) -> str | None:
    """A run whose images are read."""
    if its_set.needs == "recipe":
        return None
    return key if its_set.needs == "run" else next(iter(cases.values())).run.id


def finished(
    there: Measurements, its_set: MeasureSet, key: str, cases: Iterable[str], trained: Collection[str]
) -> bool:
    """Whether a file holds all that is wanted of it, and is not older than the training of its run."""
    if there.lacks(its_set, key, cases):
        return False
    if its_set.needs != "run":
        return True
    train = there.base / "runs" / key / "train.json"
    return key in trained and path_of(there.base, its_set.name, key).stat().st_mtime >= train.stat().st_mtime
