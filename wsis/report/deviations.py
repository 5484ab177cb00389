"""Deviations of the rows of a plan, as plan and report tell them: each text once, with its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from wsis.plan import Plan

Row = TypeVar("Row")
NAMED = 3  # rows that a text is told with by name; of more, their number


def of_row(plan: Plan, table: str, label: str) -> list[str]:
    """What the runs of a row have otherwise than the paper, in their order; none of a row without runs."""
    row, declared = plan.tables[table].row(label), plan.tables[table].split
    texts: dict[str, None] = {}
    for id in plan.row_runs(table, label).values():
        run = plan.runs[id]
        texts |= dict.fromkeys(run.deviations)
        split, here = row.split or declared, run.recipe.data.eval
        if "test" in split and "test" not in here:
            texts[f"published on {split}, measured on {here}"] = None
    return list(texts)


def by_text(rows: Mapping[Row, Iterable[str]]) -> dict[str, list[Row]]:
    """Rows and their texts -> texts and their rows."""
    found: dict[str, list[Row]] = {}
    for row, texts in rows.items():
        for text in texts:
            found.setdefault(text, []).append(row)
    return found


def of_tables(plan: Plan, tables: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Text -> (table, row label) of the tables' rows, the widest first."""
    cells = [(key, row.label) for key in tables for row in plan.tables[key].rows]
    found = by_text({cell: of_row(plan, *cell) for cell in cells})
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def lines(plan: Plan, tables: Sequence[str]) -> Iterator[str]:
    """A line for each deviation: its rows, then what it is."""
    trained = sum(bool(plan.row_runs(key, row.label)) for key in tables for row in plan.tables[key].rows)
    for text, cells in of_tables(plan, tables).items():
        if len(cells) == trained:
            rows = "all rows"
        elif len(cells) <= NAMED:
            rows = ", ".join(f"{key} '{label}'" for key, label in cells)
        else:
            rows = f"{len(cells)} rows of {_tables(key for key, _ in cells)}"
        yield f"{rows}: {text}"


def _tables(keys: Iterable[str]) -> str:
    """'paper/1a, 1b, 3; other/1' of tables' keys."""
    numbers: dict[str, dict[str, None]] = {}
    for key in keys:
        paper, _, number = key.partition("/")
        numbers.setdefault(paper, {})[number] = None
    return "; ".join(f"{paper}/{', '.join(there)}" for paper, there in numbers.items())


def as_json(plan: Plan, tables: Sequence[str]) -> list[dict[str, Any]]:
    """The same for machines."""
    return [
        {"text": text, "rows": [{"table": key, "row": label} for key, label in cells]}
        for text, cells in of_tables(plan, tables).items()
    ]
