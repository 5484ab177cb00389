"""Runs by name, in a plan: an id, a unique part of one, a table, a row of it.

boxinst-0123456789, boxinst-0123, 0123   an id, or what begins one, or its digits
boxinst/3, boxinst_3                     every run that a table shows
boxinst/3:projection                     the runs of a row, all seeds
boxinst/3:projection@61                  one of them
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from wsis.declare.table import Table
from wsis.errors import WsisError, nearest_first
from wsis.plan import Plan


def table_of(word: str, tables: Collection[str]) -> str | None:
    """'boxinst/3' and 'boxinst_3' -> 'boxinst/3', a key of `tables`; None for any other word."""
    return next((key for key in tables if word in (key, key.replace("/", "_"))), None)


def is_row(word: str, tables: Collection[str]) -> bool:
    """Whether a word names a table, or a row of one (which need not exist)."""
    return table_of(word.partition(":")[0], tables) is not None


def row_of(tables: Mapping[str, Table], word: str) -> tuple[str, str | None, int | None]:
    """(table, row, seed) of a word that `is_row`; None for all. WsisError where there is no such row."""
    place, colon, rest = word.partition(":")
    key = table_of(place, tables)
    assert key is not None
    labels = tables[key].labels
    if not colon:
        return key, None, None
    label, at, seed = rest.strip(), "", ""
    if label not in labels:
        label, at, seed = (part.strip() for part in rest.rpartition("@"))
    if at and label in labels and seed.isdecimal():
        return key, label, int(seed)
    if not at and label in labels:
        return key, label, None
    there = nearest_first(label or rest, labels)
    raise WsisError(f"{word}: {key} has no row '{label or rest.strip()}' (there are: {there})")


def row_runs(plan: Plan, word: str) -> list[str]:
    """The plan's runs of a word that `is_row`; WsisError where there are none."""
    key, label, seed = row_of(plan.tables, word)
    if label is None:
        return plan.wanted([key])
    runs = plan.row_runs(key, label)
    if not runs:
        raise WsisError(f"{word}: not run at scale {plan.scale.name}: {plan.row_reason(key, label)}")
    if seed is not None and seed not in runs:
        raise WsisError(f"{word}: no such seed (there are: {', '.join(map(str, runs))})")
    return [*runs.values()] if seed is None else [runs[seed]]


def by_id(word: str, ids: Iterable[str]) -> str | None:
    """The id that a word is, begins, or begins the digits of; None for none, WsisError for several."""
    there = list(ids)
    if word in there:
        return word
    fits = [id for id in there if id.startswith(word) or id.rpartition("-")[2].startswith(word)]
    if not word or not fits:
        return None
    if len(fits) > 1:
        more = ", ..." if len(fits) > 6 else ""
        raise WsisError(f"{word}: {len(fits)} runs begin with it: {', '.join(fits[:6])}{more}")
    return fits[0]
