"""The costs of all tables that print any, in one file."""

import json

import pytest

from wsis.declare.load import load_tables
from wsis.declare.table import COST_MEASURES
from wsis.errors import WsisError
from wsis.methods.baiseg.complexity_job import KINDS, measure_complexity


def test_every_row_with_costs(tmp_path):
    tables = load_tables()
    measure_complexity(tables, tmp_path / "new" / "complexity.json")
    found = json.loads((tmp_path / "new" / "complexity.json").read_text())
    showing = {key: t for key, t in tables.items() if {"GFLOPs", "params", *COST_MEASURES} & set(t.metrics)}
    assert set(found) == set(showing) == set(KINDS)
    for key, table in showing.items():
        assert list(found[key]) == [row.label for row in table.rows if row.kind == "train"]
        for row in table.rows if "params" in table.columns else ():
            assert found[key][row.label]["params"] == pytest.approx(table.published(row)["params"], rel=0.015)


def test_a_table_of_unknown_kind_is_refused(tmp_path):
    table = load_tables()["baiseg/4"]
    with pytest.raises(WsisError, match="baiseg/9: has the columns GFLOPs, "):
        measure_complexity({"baiseg/9": table.model_copy(update={"table": "9"})}, tmp_path / "c.json")
    assert not (tmp_path / "c.json").exists()
