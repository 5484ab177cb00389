"""Effects: paired by seed, against the declared reference, never across images or protocols."""

from __future__ import annotations

import pytest

from tests.report.test_claims import result
from wsis.declare.load import DeclarationError, load_tables, parse
from wsis.declare.table import Table
from wsis.report.effects import fill_effects
from wsis.report.stats import t_interval

VALUES = {"a": [20.0, 26.0, 14.0], "b": [22.0, 28.4, 15.8], "c": [22.0, 28.4, 15.8]}


def test_an_effect_is_the_paired_difference_to_the_reference() -> None:
    made = result(VALUES)
    fill_effects(made)
    effect = made.cells["b", "AP"].effect
    assert made.cells["a", "AP"].effect is None  # the first trained row is the reference
    assert effect.mean == pytest.approx((2.0 + 2.4 + 1.8) / 3) and effect.n == 3
    assert effect.interval == pytest.approx(t_interval([2.0, 2.4, 1.8]))
    assert effect.published == pytest.approx(0.6)
    assert made.cells["d", "AP"].effect.mean is None  # not run; its published effect stands


def test_the_same_runs_and_other_images_are_no_effect() -> None:
    made = result(VALUES, runs={"a": "shared", "b": "shared"})
    fill_effects(made, {"c-0": "far"})
    assert made.cells["b", "AP"].effect.same and not made.cells["c", "AP"].effect.same
    assert made.cells["c", "AP"].effect.mean is None and made.cells["c", "AP"].effect.published is not None


def test_ties_have_no_leader() -> None:
    made = result(VALUES)
    fill_effects(made)
    assert not any(cell.leads for cell in made.cells.values())  # b and c are equal
    made = result({label: VALUES[label] for label in "ab"})
    fill_effects(made)
    assert [label for (label, _), cell in made.cells.items() if cell.leads] == ["b"]


def test_every_table_names_a_reference_that_its_rows_are_compared_with() -> None:
    for table in load_tables().values():
        for row in table.rows:
            if row.kind == "train":
                reference = table.reference_of(row.label)
                assert table.reference_of(reference) == reference
                assert table.row(reference).kind == "train"
        if table.sweep:
            assert len({table.reference_of(label) for label in table.sweep.points}) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reference": "others"}, "no trained row: others"),
        ({"reference_for": {"x": ["nobody"]}}, "no trained row: nobody"),
        ({"reference": "x", "reference_for": {"x": ["y"]}}, "twice: x"),
    ],
)
def test_a_reference_that_is_none_is_refused(changes: dict, words: str) -> None:
    rows = [{"label": label, "values": [1.0], "train": {}} for label in ("x", "y")]
    rows.append({"label": "others", "values": [1.0], "quote": "somebody"})
    tree = {
        "paper": "boxinst", "table": "9", "title": "t", "caption": "c", "section": "3", "dataset": "coco",
        "split": "val2017", "protocol": "coco", "base": "r50", "columns": ["AP"], "header": ["AP"],
    }  # fmt: skip
    with pytest.raises(DeclarationError, match=words):
        parse(Table, tree | {"rows": rows} | changes, "table 9")
