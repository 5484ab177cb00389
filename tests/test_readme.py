"""What the README counts is what is declared."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wsis.declare.load import load_tables
from wsis.declare.table import Table
from wsis.measures.registry import is_ours

DOMAIN = re.compile(r"-on-(mixed|far)-images$")  # judged on rows of ours
README = Path(__file__).resolve().parents[1] / "README.md"
COUNTED = {
    r"All (\d+) tables": lambda tables: sum(not all(row.ours for row in table.rows) for table in tables),
    r"(\d+) printed rows": lambda tables: sum(not row.ours for table in tables for row in table.rows),
    r"and (\d+) of ours": lambda tables: sum(row.ours for table in tables for row in table.rows),
    r"(\d+) published cells": lambda tables: sum(
        value is not None for table in tables for row in table.rows for value in table.published(row).values()
    ),
    r"(\d+) claims of the papers": lambda tables: sum(len(table.claims) for table in tables),
    r"of which (\d+) are companions": lambda tables: sum(
        is_ours(claim.metric) or DOMAIN.search(claim.id) is not None
        for table in tables
        for claim in table.claims
    ),
}


@pytest.fixture(scope="module")
def tables() -> list[Table]:
    return list(load_tables().values())


@pytest.mark.parametrize("pattern", COUNTED)
def test_counts_are_those_of_the_declarations(tables, pattern):
    text = " ".join(README.read_text(encoding="utf-8").split())
    assert re.findall(pattern, text) == [str(COUNTED[pattern](tables))]
