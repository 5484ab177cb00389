"""The measures that methods declare: complete, told apart, in words; and how a method adds one."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from wsis.declare.load import load_tables
from wsis.declare.table import METRICS
from wsis.errors import WsisError
from wsis.measures import registry
from wsis.measures.measure import Measure
from wsis.measures.registry import is_exact, is_ours, measure_of, names, notes, readable, set_of, sets
from wsis.provenance import ROOT, hash_of

OURS = names(ours=True)


def test_the_maps_are_measured_by_kinds_and_subsets():
    """Three maps by IoU, best and AUC, and what only labels have; over all and over overlapping objects."""
    expected = {f"{m}_{k}" for m in ("semantic", "instance", "pseudo") for k in ("IoU", "best", "AUC")}
    expected |= {"pseudo_cover", "pseudo_acc"}
    assert sets()["pseudo"].names == expected | {f"{name}_overlap" for name in expected}


def test_names_are_words_and_told_apart():
    words = [readable(name) for name in OURS]
    assert len(set(words)) == len(words) and not {*words} & {*OURS}
    assert readable("pseudo_IoU") == "pseudo masks: IoU at 0.5"
    assert readable("semantic_AUC_overlap") == "M_S: AUC, overlapping"
    assert readable("kept_IoU75_plus_one") == "kept masks: IoU@75, +1 boxes"
    assert readable("contact_texture_AUC") == "contacts vs textures: AUC"
    assert readable("AP75") == "AP75" and readable("GFLOPs") == "GFLOPs"
    assert not {*METRICS} & {*OURS, *names(ours=False)}


def test_columns_of_papers_are_not_ours():
    printed = {metric for table in load_tables().values() for metric in table.columns}
    assert {*names(ours=False)} <= printed and not printed & {*OURS}
    assert is_ours("split") and not is_ours("params") and not is_ours("AP")
    assert set_of("AP") is measure_of("AP") is None and set_of("params") is set_of("params_module")


def test_what_no_training_decides_is_exact():
    assert is_exact("prop") and is_exact("params") and is_exact("GFLOPs_stride4")
    assert not is_exact("split") and not is_exact("AP")


def test_a_note_says_what_the_columns_of_ours_are():
    assert notes(["AP", "params"]) == "" == notes([])
    assert "warm-up" in notes(["pseudo_IoU"]) and "warm-up" not in notes(["proxy_mIoU", "GFLOPs_stride4"])
    assert notes(["split", "proxy_mIoU"]) == f"{sets()['proxy'].note} {sets()['boundary'].note}"
    for each in sets().values():
        assert bool(each.note) == any(measure.ours for measure in each.measures)


@pytest.mark.parametrize("name", sets())
def test_what_a_set_names_is_there(name):
    module, function = sets()[name].compute.split(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert len(hash_of(sets()[name].modules, ROOT)) == 16


def test_what_a_method_adds_is_a_column_like_any_other(monkeypatch):
    gaps = replace(sets()["boundary"], name="gaps", measures=(Measure("gap", "gaps", better="lower"),))
    infos = registry.infos() | {"mine": SimpleNamespace(measures=(gaps,))}
    monkeypatch.setattr(registry, "infos", lambda: infos)
    monkeypatch.setattr(registry, "info_of", infos.get)
    assert set_of("gap") is gaps and measure_of("gap").better == "lower" and "gap" in names(ours=True)
    table = load_tables()["baiseg/3"]
    tree = table.model_dump(exclude_none=True) | {"measures": ("gap",)}
    assert type(table).model_validate(tree).measures == ("gap",)
    infos["mine"].measures = (sets()["boundary"],)
    registry._declared.cache_clear()
    with pytest.raises(WsisError, match="method mine: there already is a measure 'boundary'"):
        sets()
    registry._declared.cache_clear()


def test_an_unknown_column_is_refused_with_the_nearest_ones():
    tree = load_tables()["sim/3"].model_dump(exclude_none=True)
    for key, name, near in (
        ("measures", "psuedo_IoU", "pseudo_IoU"),
        ("measures", "AP50", "the nearest are"),
        ("columns", "AP5", "AP50"),
    ):
        with pytest.raises(ValueError, match=f"{key}.0\n.*no such metric or measure; .*{near}"):
            type(load_tables()["sim/3"]).model_validate(tree | {key: (name, *tree[key][1:])})


def test_no_torch_is_loaded_to_know_them():
    code = "import sys, wsis.measures.wanted as w; w.sets(); print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                           cwd=Path(ROOT))  # fmt: skip
    assert shown.stdout.split() == ["False"]
