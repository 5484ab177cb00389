"""The declared tables against second, independent transcriptions of the papers, cell by cell."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from wsis.declare.load import load_errata, load_tables
from wsis.declare.resolve import published_recipe

HERE = Path(__file__).parent
TABLES = {  # paper: table: (rows, printed cells), counted on the papers' pages
    "boxinst": {
        "1a": (4, 27), "1b": (4, 24), "2": (2, 12), "3": (3, 18),
        "4": (13, 78), "5": (8, 23), "6": (4, 24), "7": (4, 24),
    },
    "sim": {
        "1": (20, 115), "2": (13, 35), "3": (3, 18), "4": (5, 30), "5": (4, 24),
        "6": (5, 30), "7": (4, 24), "8": (5, 30), "9": (4, 24),
    },
    "boxcaseg": {
        "1": (19, 63), "2": (4, 21), "3": (6, 30), "4": (5, 15),
        "5": (8, 24), "6": (7, 21), "7": (6, 18), "8": (5, 10),
    },
    "baiseg": {
        "1": (16, 58), "2": (15, 45), "3": (5, 10), "4": (4, 12),
        "5": (4, 12), "6": (7, 21), "7": (8, 8),
    },
}  # fmt: skip
COUNTS = {f"{paper}/{table}": count for paper, tables in TABLES.items() for table, count in tables.items()}
SAME_TRAINING = [  # rows for which the papers mean one model
    [("boxinst/1a", 3), ("boxinst/1b", 2), ("boxinst/3", 3), ("boxinst/6", 4)],
    [("boxinst/1a", 3), ("boxinst/7", 4), ("sim/3", 1)],
    [("boxcaseg/1", 18), ("boxcaseg/3", 6), ("boxcaseg/7", 3)],
    [("boxcaseg/2", 4), ("boxcaseg/7", 6), ("boxcaseg/8", 5)],
    [("boxcaseg/7", 5), ("boxcaseg/8", 1)],
    [("boxcaseg/4", 5), ("boxcaseg/6", 6)],
    [("boxcaseg/4", 3), ("boxcaseg/6", 1)],
    [("boxcaseg/4", 4), ("boxcaseg/6", 7)],
    [("boxcaseg/1", 19), ("baiseg/1", 1)],
    [("boxcaseg/2", 1), ("baiseg/2", 1), ("baiseg/2", 9)],
    [("boxcaseg/1", 14), ("boxinst/5", 8), ("sim/2", 7)],
    [("baiseg/1", 8), ("sim/2", 12)],
    [("baiseg/1", 11), ("baiseg/3", 5), ("baiseg/4", 4), ("baiseg/5", 3), ("baiseg/6", 6), ("baiseg/7", 2)],
]  # fmt: skip


def transcribed() -> dict[str, dict[tuple[int, str], float]]:
    """Table key -> (row position from 1, metric) -> value, from both second transcriptions."""
    cells: dict[str, dict[tuple[int, str], float]] = {}
    for name in ("second_boxinst_sim.csv", "second_boxcaseg_baiseg.csv"):
        with (HERE / name).open(encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                table = cells.setdefault(f"{line['paper']}/{line['table']}", {})
                cell = (int(line["row"]), line["metric"])
                assert cell not in table, f"{name}: {line['paper']}/{line['table']} {cell} given twice"
                table[cell] = float(line["value"])
    return cells


def declared(key: str) -> dict[tuple[int, str], float]:
    table = load_tables()[key]
    return {
        (position, metric): value
        for position, row in enumerate(table.rows, start=1)
        for metric, value in table.published(row).items()
        if value is not None
    }


def test_every_table_is_declared_in_the_papers_order():
    assert list(load_tables()) == list(COUNTS)


@pytest.mark.parametrize("key", COUNTS)
def test_the_two_transcriptions_agree(key):
    first, second = declared(key), transcribed()[key]
    different = {
        cell: (first.get(cell), second.get(cell))
        for cell in first.keys() | second.keys()
        if first.get(cell) != second.get(cell)
    }
    assert not different, f"{key}, (row, metric): (declared, transcribed again): {different}"


@pytest.mark.parametrize("key", COUNTS)
def test_rows_and_printed_cells(key):
    assert (len(load_tables()[key].rows), len(declared(key))) == COUNTS[key]


def test_totals():
    tables = load_tables()
    assert len(tables) == 32
    assert sum(len(table.rows) for table in tables.values()) == 224
    assert sum(len(declared(key)) for key in tables) == 928
    assert sum(len(table.claims) for table in tables.values()) >= 60


@pytest.mark.parametrize("key", COUNTS)
def test_every_trained_row_has_a_valid_recipe(key):
    """A base that does not exist or an override that is no knob raises, naming the row."""
    table = load_tables()[key]
    for row in table.rows:
        if row.kind == "train":
            published_recipe(table, row)


@pytest.mark.parametrize("rows", SAME_TRAINING, ids=lambda rows: rows[0][0] + "-" + str(rows[0][1]))
def test_one_training_serves_rows_of_several_tables(rows):
    ids = {}
    for key, position in rows:
        table = load_tables()[key]
        row = table.rows[position - 1]
        ids[key, row.label] = published_recipe(table, row).id
    assert len(set(ids.values())) == 1, ids


@pytest.mark.parametrize("key", COUNTS)
def test_rows_of_one_table_differ_in_recipe_or_split(key):
    """Two trained rows of a table with one recipe would print one number under two labels."""
    table = load_tables()[key]
    seen = {}
    for row in table.rows:
        if row.kind == "train":
            identity = (published_recipe(table, row).id, row.split or table.split)
            assert identity not in seen, f"{key}: '{row.label}' is '{seen.get(identity)}' again"
            seen[identity] = row.label


def test_errata_name_declared_tables():
    tables = load_tables()
    for paper, errata in load_errata().items():
        assert errata, f"{paper} has no errata"
        ids = [erratum.id for erratum in errata]
        assert len(set(ids)) == len(ids), f"{paper}: an erratum id is given twice"
        for erratum in errata:
            unknown = set(erratum.about) - tables.keys()
            assert not unknown, f"{paper}/{erratum.id} is about unknown tables {unknown}"
