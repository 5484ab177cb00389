"""The declared tables against second, independent transcriptions of the papers, cell by cell."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from wsis.declare.load import load_errata, load_recipes, load_tables
from wsis.declare.resolve import published_recipe
from wsis.declare.settings import flatten
from wsis.declare.table import Cell, Claim, Row, Table
from wsis.measures.registry import is_ours, set_of
from wsis.methods.sim.declared import VARIANTS

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
    [("boxcaseg/1", 15), ("boxinst/5", 5), ("sim/2", 3)],
    [("boxcaseg/2", 2), ("boxinst/4", 7), ("sim/1", 7)],
    [("boxcaseg/2", 4), ("sim/1", 9)],
    [("boxinst/4", 13), ("sim/1", 15)],
    [("boxinst/5", 1), ("sim/2", 1)],
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


def printed(key: str) -> list[Row]:
    """The paper's rows of a table, without ours."""
    return [row for row in load_tables()[key].rows if not row.ours]


def declared(key: str) -> dict[tuple[int, str], float]:
    table = load_tables()[key]
    return {
        (position, metric): value
        for position, row in enumerate(printed(key), start=1)
        for metric, value in table.published(row).items()
        if value is not None
    }


def test_every_table_is_declared_in_the_papers_order():
    assert [key for key in load_tables() if printed(key)] == list(COUNTS)


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
    assert (len(printed(key)), len(declared(key))) == COUNTS[key]


def test_totals():
    tables = load_tables()
    assert sum(bool(printed(key)) for key in tables) == 32
    assert sum(len(printed(key)) for key in tables) == 224
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
def test_rows_of_one_table_differ_in_recipe_split_or_protocol(key):
    """Two trained rows of a table with one recipe would print one number under two labels."""
    table = load_tables()[key]
    seen = {}
    for row in table.rows:
        if row.kind == "train":
            protocol = row.protocol or table.protocol
            identity = (published_recipe(table, row).id, row.split or table.split, protocol)
            assert identity not in seen, f"{key}: '{row.label}' is '{seen.get(identity)}' again"
            seen[identity] = row.label


@pytest.mark.parametrize("key", COUNTS)
def test_what_is_ours_is_apart_from_what_the_paper_prints(key):
    """Rows of ours follow the paper's; they have no values."""
    table = load_tables()[key]
    assert [row.ours for row in table.rows] == sorted(row.ours for row in table.rows)
    for row in table.rows:
        if row.ours:
            assert set(table.published(row)) == set(table.columns) and not any(row.values)
    assert not set(table.measures) & set(table.columns)


COMPANIONS = {  # end of the id: what the text says
    "-in-pseudo-masks": "in the pseudo masks",
    "-in-proxy-masks": "in the proxy masks",
    "-in-boundary-maps": "in the boundary maps",
    "-on-mixed-images": "on mixed salient images",
    "-on-far-images": "on far salient images",
}


def rows_of_ours(table: Table, claim: Claim) -> set[tuple[str, str]]:
    """(table, label) of the rows of ours that a claim names."""
    cells = [*claim.rows, *(Cell(row=label) for label in claim.among)]
    cells += [cell for cell in (claim.row, claim.than) if cell]
    named = {(cell.table or table.key, cell.row) for cell in cells}
    return {(key, label) for key, label in named if load_tables()[key].row(label).ours}


def test_companion_claims_stand_beside_the_papers_own():
    """Judged on a measure or a row of ours, and said to be; claims on the paper's own bear no mark."""
    companions = 0
    for table in load_tables().values():
        for claim in table.claims:
            marks = [mark for mark in COMPANIONS if mark in claim.id]
            if not is_ours(claim.metric) and not rows_of_ours(table, claim):
                assert not marks, claim.id
                continue
            assert len(marks) == 1 and COMPANIONS[marks[0]] in " ".join(claim.text.split()), claim.id
            assert claim.by == 0
            if is_ours(claim.metric):
                kind = set_of(claim.metric).name
                place = "-in-boundary-maps" if kind == "boundary" else f"-in-{kind}-masks"
                assert marks == [place] and claim.metric in table.measures
            assert claim.id.endswith("-auc") == ("AUC" in claim.metric)
            assert claim.id.endswith("-plus-one") == ("plus_one" in claim.metric)
            companions += 1
    assert companions >= 40


@pytest.mark.parametrize("domain", ["mixed", "far"])
def test_claims_on_a_domain_are_those_of_the_papers_rows_with_their_rows_exchanged(domain):
    """The same kind, metric and rows as on near images; only what the domain lacks is left out."""

    def rows(claim: Claim) -> list[str]:
        return [cell.row.removeprefix(f"{domain}: ") for cell in (*claim.rows, claim.row, claim.than) if cell]

    seen = 0
    for key, paper in (("boxcaseg/3d", "boxcaseg/3"), ("boxcaseg/4", "boxcaseg/4")):
        printed = {claim.id: claim for claim in load_tables()[paper].claims}
        for claim in load_tables()[key].claims:
            name = claim.id
            if not name.endswith(f"-on-{domain}-images"):
                continue
            seen += 1
            near = printed[name.removesuffix(f"-on-{domain}-images")]
            shape = ("kind", "metric", "by", "within", "direction", "section")
            assert [getattr(claim, part) for part in shape] == [getattr(near, part) for part in shape]
            assert rows(claim) == [row for row in rows(near) if row != "4701"]
    assert seen == 4


def test_momenta_keep_their_share_of_a_shorter_schedule():
    """(1 - momentum) x iterations of SIM's Pascal VOC recipes is that of COCO's."""
    recipes = {name: load_recipes("sim")[name] for name in ("r50-1x", "voc-r50", "voc-r101")}
    for key, product in (("ema", 9), ("prototype_momentum", 90)):
        for recipe in recipes.values():
            assert (1 - recipe["sim"][key]) * recipe["schedule"]["iterations"] == pytest.approx(product)


def test_the_released_row_takes_every_switch():
    """Nothing that `variant` governs is decided in SIM's base recipe."""
    table = load_tables()["sim/3"]
    for label, variant in (("pseudo + paste", "paper"), ("released", "released")):
        recipe = published_recipe(table, table.row(label)).settled()
        tree = flatten(recipe.model_dump(mode="json"))
        assert all(tree[key] == value for key, value in VARIANTS[variant].items())


def test_errata_name_declared_tables():
    tables, seen = load_tables(), set()
    for paper, errata in load_errata().items():
        assert errata, f"{paper} has no errata"
        for erratum in errata:
            assert erratum.id not in seen, f"{paper}: another erratum has the id {erratum.id}, too"
            seen.add(erratum.id)
            unknown = set(erratum.about) - tables.keys()
            assert not unknown, f"{paper}/{erratum.id} is about unknown tables {unknown}"
