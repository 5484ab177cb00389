"""The Markdown summary of `wsis bench gpu`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def page(result: dict[str, Any]) -> str:
    """The device, a table of the parts' outcomes, and a table of numbers for each kind of part."""
    parts = result["parts"]
    environment = ", ".join(f"{key} {value}" for key, value in result["environment"].items() if _plain(value))
    lines = [
        f"# {result['device']}{', dry run' if result['dry_run'] else ''}",
        "",
        f"{result['date']}, {result['devices']} device{'s' if result['devices'] > 1 else ''},"
        f" {result['seconds']:.0f} s. {environment}",
        "",
        *table(
            ("part", "outcome", "seconds", "told"),
            [(name, p["outcome"], p["seconds"], p["message"]) for name, p in parts.items()],
        ),
    ]
    groups: dict[str, list[dict[str, Any]]] = {}
    for part in parts.values():
        groups.setdefault(part["about"], []).extend(part["rows"])
    for about, rows in groups.items():
        if rows:
            lines += ["", f"## {about}", "", *_numbers(rows)]
    return "\n".join(lines) + "\n"


def _numbers(rows: list[dict[str, Any]]) -> list[str]:
    """A table of what is a number or a word in every row; nested numbers are in the JSON file."""
    columns = list(dict.fromkeys(key for row in rows for key, value in row.items() if _plain(value)))
    return table(columns, [[row.get(key, "") for key in columns] for row in rows])


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Lines of a Markdown table; what is not a number or a word becomes an empty cell."""
    head = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    return head + ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ") if _plain(value) else ""
