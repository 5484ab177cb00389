"""Verdicts on hand-made numbers."""

from __future__ import annotations

import math

import numpy
import pytest
from scipy import stats

from wsis.declare.table import Claim, Table
from wsis.errors import WsisError
from wsis.report.claims import judge
from wsis.report.model import CellResult, ClaimResult, TableResult
from wsis.report.noise import Noise
from wsis.report.stats import published_interval

ROWS = {"a": 30.1, "b": 30.7, "c": 30.7, "d": 29.0}  # label -> published AP


def table(quoted: tuple[str, ...] = (), columns: tuple[str, ...] = ("AP",), table: str = "2") -> Table:
    rows = [
        {"label": label, "values": [value] * len(columns)}
        | ({"quote": "somebody"} if label in quoted else {"train": {}})
        for label, value in ROWS.items()
    ]
    return Table.model_validate(
        {
            "paper": "boxinst", "table": table, "title": "t", "caption": "c", "section": "3",
            "dataset": "coco", "split": "val2017", "protocol": "coco", "base": "r50",
            "columns": columns, "header": columns, "rows": tuple(rows),
        },
        strict=False,
    )  # fmt: skip


def result(values: dict[str, list[float]], runs: dict[str, str] | None = None, **kwargs) -> TableResult:
    """Cells with `values` at seeds 0, 1, ...; `runs`: label -> name, rows of one name share their runs."""
    declared = table(**kwargs)
    cells = {}
    for label, published in ROWS.items():
        measured = dict(enumerate(values.get(label, [])))
        ids = {seed: f"{(runs or {}).get(label, label)}-{seed}" for seed in measured}
        cell = CellResult(published, published_interval(published, 1), measured, runs=ids)
        for metric in declared.columns:
            cells[label, metric] = cell
    return TableResult(declared, cells)


def verdict(
    values: dict[str, list[float]], scale: str = "tiny", runs=None, quoted=(), noise=None, **claim
) -> ClaimResult:
    found = result(values, runs, quoted=quoted, columns=(claim.get("metric", "AP"),))
    declared = Claim.model_validate(
        {"id": "c", "text": "t", "section": "3", "metric": "AP", **claim}, strict=False
    )
    return judge(declared, found.table, {found.table.key: found}, scale, noise=noise)


GREATER = {"kind": "greater", "row": "b", "than": "a"}
CLEAR = {"a": [20.0, 26.0, 14.0], "b": [22.0, 28.1, 15.9]}  # noisy rows, steady difference of 2


def test_pairing_within_seeds_decides() -> None:
    """The rows' ranges overlap widely; only their paired differences are steady."""
    assert verdict(CLEAR, **GREATER).verdict == "reproduced"
    assert verdict(CLEAR, kind="greater", row="a", than="b").verdict == "contradicted"
    assert verdict(CLEAR, kind="lower", row="a", than="b").verdict == "reproduced"
    shuffled = {"a": CLEAR["a"], "b": [15.9, 22.0, 28.1]}
    assert verdict(shuffled, **GREATER).verdict == "inconclusive"
    assert verdict(CLEAR, **GREATER).n == 3


def test_two_seeds_need_a_much_steadier_difference() -> None:
    assert verdict({"a": [20.0, 26.0], "b": [22.0, 29.0]}, **GREATER).verdict == "inconclusive"
    assert verdict({"a": [20.0, 26.0], "b": [22.0, 28.1]}, **GREATER).verdict == "reproduced"


@pytest.mark.parametrize(
    ("by", "expected"), [(1.0, "reproduced"), (2.0, "inconclusive"), (3.0, "contradicted")]
)
def test_margin(by: float, expected: str) -> None:
    assert verdict(CLEAR, **GREATER, by=by, scale="paper").verdict == expected


@pytest.mark.parametrize(
    ("row", "than", "by", "expected"),
    [("b", "a", 1.0, "reproduced"), ("b", "a", 3.0, "inconclusive"), ("a", "b", 3.0, "contradicted")],
)
def test_at_small_scales_only_a_reversed_sign_contradicts_a_margin(row, than, by, expected) -> None:
    """Points are the paper's: 1.2 AP of 31 say nothing about a network that has 7."""
    assert verdict(CLEAR, kind="greater", row=row, than=than, by=by, scale="tiny").verdict == expected


def quiet(spread: float) -> dict[tuple[str, str], Noise]:
    """An ensemble of 24 contrasts over three seeds that all have this standard deviation."""
    shapes = [(1, -1, 0), (1, 0, -1), (0, 1, -1), (1, 1, -2), (1, -2, 1), (-2, 1, 1)] * 4
    sizes = [spread * math.sqrt(2 / sum(x * x for x in shape)) for shape in shapes]
    differences = [
        dict(enumerate(size * x for x in shape)) for size, shape in zip(sizes, shapes, strict=True)
    ]
    return {("boxinst", "AP"): Noise(differences)}


UNSURE = {"a": [20.0, 26.0, 14.0], "b": [21.0, 28.0, 17.0]}  # + 2 +- 1 on average


def test_the_noise_of_the_papers_other_differences_decides_with() -> None:
    alone = verdict(UNSURE, **GREATER)
    assert alone.verdict == "inconclusive" and "n = 3, df 2" in alone.detail
    helped = verdict(UNSURE, **GREATER, noise=quiet(1.0))
    assert helped.verdict == "reproduced" and "n = 3, df 48" in helped.detail
    assert verdict(CLEAR, **GREATER).verdict == "reproduced"
    assert verdict(CLEAR, **GREATER, noise=quiet(5.0)).verdict == "inconclusive"
    # differences of another kind, and other papers and metrics, have no part in it
    other = {("sim", "AP"): quiet(1.0)["boxinst", "AP"]}
    assert verdict(UNSURE, **GREATER, noise=other).verdict == "inconclusive"
    own = {"b": [31.0, 32.0, 33.2]}  # against a printed 30.1
    quoted = verdict(own, scale="paper", quoted=("a",), **GREATER, noise=quiet(1.0))
    assert quoted.verdict == "inconclusive" and "df 2" in quoted.detail
    assert "exactly, n = 2" in verdict({"a": [1.0, 2.0], "b": [2.0, 3.0]}, **GREATER, noise=quiet(1.0)).detail


def test_on_the_edge_without_one_seed() -> None:
    """Differences of 2.0, 2.4 and 1.8 are enough in three seeds, not in two that have nobody's help."""
    narrow = {"a": [20.0, 26.0, 14.0], "b": [22.0, 28.4, 15.8]}
    judged = verdict(narrow, **GREATER)
    assert judged.verdict == "reproduced"
    assert judged.edge and judged.detail.endswith("; on the edge: without one seed it would be inconclusive")
    firm = verdict(narrow, **GREATER, noise=quiet(0.2))
    assert firm.verdict == "reproduced" and not firm.edge and "edge" not in firm.detail
    outlier = {"a": [0.0] * 3, "b": [2.0, 2.2, -1.0]}
    judged = verdict(outlier, **GREATER, noise=quiet(0.2))
    assert (judged.verdict, judged.edge) == ("inconclusive", True) and "would be reproduced" in judged.detail


def test_on_the_edge_within_two_standard_errors() -> None:
    """No single seed makes the difference significant, but it lies just inside the noise."""
    near = {"a": [0.0] * 3, "b": [0.9, 1.0, 1.1]}
    judged = verdict(near, **GREATER, noise=quiet(1.0))
    assert (judged.verdict, judged.edge) == ("inconclusive", True)
    assert "2 standard errors away it would be reproduced" in judged.detail
    assert not verdict({"a": [0.0] * 3, "b": [1.0, -1.0, 0.1]}, **GREATER).edge


def test_the_edge_of_few_seeds_and_of_exact_numbers() -> None:
    two = verdict({"a": [20.0, 26.0], "b": [22.0, 28.1]}, **GREATER)
    assert (two.verdict, two.edge) == ("reproduced", True)
    assert not verdict({"a": [1.0], "b": [50.0]}, **GREATER).edge  # inconclusive, and no seed to leave out
    assert not verdict({}, **GREATER).edge
    assert not verdict({"a": [90.0], "b": [98.0]}, **GREATER, metric="prop").edge
    same = {"a": "shared", "b": "shared"}
    near = {"kind": "near", "row": "a", "than": "b", "within": 0.5}
    assert not verdict({"a": [7.0, 8.0, 9.0], "b": [7.0, 8.0, 9.0]}, runs=same, **near).edge


def test_one_seed_is_never_significant() -> None:
    judged = verdict({"a": [1.0], "b": [50.0]}, **GREATER)
    assert (judged.verdict, judged.n) == ("inconclusive", 1)
    assert "+49.00" in judged.detail and "one seed" in judged.detail
    assert "-49.00" in verdict({"a": [50.0], "b": [1.0]}, **GREATER).detail


def test_nothing_measured() -> None:
    assert verdict({}, **GREATER).verdict == "not run"
    judged = verdict({"a": [1.0, 2.0]}, **GREATER)
    assert (judged.verdict, judged.n) == ("not run", 0)
    assert "b" in judged.detail


def test_identical_values_are_exact() -> None:
    """Without spread the mean itself decides, and an exact tie says nothing."""
    assert verdict({"a": [5.0, 5.0], "b": [5.1, 5.1]}, **GREATER).verdict == "reproduced"
    assert verdict({"a": [5.1, 5.1], "b": [5.0, 5.0]}, **GREATER).verdict == "contradicted"
    assert verdict({"a": [5.0, 7.0], "b": [5.0, 7.0]}, **GREATER).verdict == "untestable"
    # 30.3 - 30.1 is not 0.2 in binary: a margin met exactly is no more than that
    assert verdict({"a": [30.1, 30.1], "b": [30.3, 30.3]}, **GREATER, by=0.2).verdict == "inconclusive"


def test_one_run_behind_both_rows_is_no_test() -> None:
    same = {"a": "shared", "b": "shared"}
    near = {"kind": "near", "row": "a", "than": "b", "within": 0.5}
    for n in (1, 3):
        assert verdict({"a": [7.0] * n, "b": [7.0] * n}, runs=same, **near).verdict == "untestable"
    assert verdict({"a": [7.0], "b": [7.1]}, **near).verdict == "inconclusive"


def test_measurement_without_training_needs_one_value() -> None:
    assert verdict({"a": [90.0], "b": [98.0]}, **GREATER, metric="prop").verdict == "reproduced"
    assert verdict({"a": [98.0], "b": [90.0]}, **GREATER, metric="prop").verdict == "contradicted"


def test_best_against_each_rival() -> None:
    base = {"a": [10.0, 20.0], "b": [12.0, 22.0], "c": [11.0, 21.0], "d": [9.0, 19.0]}
    best = {"kind": "best", "row": "b"}
    assert verdict(base, **best).verdict == "reproduced"
    assert verdict(base, kind="worst", row="d").verdict == "reproduced"
    assert verdict(base, kind="worst", row="a").verdict == "contradicted"
    noisy = base | {"c": [9.0, 26.0]}
    assert verdict(noisy, **best).verdict == "inconclusive"
    assert verdict(noisy, **best, among=["a", "d"]).verdict == "reproduced"
    assert verdict(base | {"c": [13.0, 23.0]}, **best).verdict == "contradicted"


def test_missing_rival_leaves_open_but_a_better_one_contradicts() -> None:
    some = {"a": [10.0, 20.0], "b": [12.0, 22.0], "d": [9.0, 19.0]}
    assert verdict(some, kind="best", row="b").verdict == "not run"
    assert verdict(some, kind="best", row="a").verdict == "contradicted"


def test_monotone_and_peak_take_every_neighbour() -> None:
    rising = {"d": [1.0, 5.0], "a": [2.0, 6.0], "b": [3.0, 7.0], "c": [2.5, 6.5]}
    up = {"kind": "monotone", "direction": "up"}
    assert verdict(rising, **up, rows=["d", "a", "b"]).verdict == "reproduced"
    assert verdict(rising, kind="monotone", direction="down", rows=["b", "a", "d"]).verdict == "reproduced"
    assert verdict(rising, **up, rows=["d", "a", "b", "c"]).verdict == "contradicted"
    assert verdict(rising | {"a": [2.0, 4.0]}, **up, rows=["d", "a", "b"]).verdict == "inconclusive"
    peak = {"kind": "peak", "row": "b", "rows": ["d", "a", "b", "c"]}
    assert verdict(rising, **peak).verdict == "reproduced"
    assert verdict(rising | {"c": [4.0, 8.0]}, **peak).verdict == "contradicted"
    with pytest.raises(WsisError, match="strictly inside"):
        verdict(rising, kind="peak", row="b", rows=["d", "a", "b"])


def test_insensitive_and_near_bound_the_difference_on_both_sides() -> None:
    flat = {"a": [10.0, 20.0, 30.0], "b": [10.2, 20.1, 30.3], "c": [9.9, 19.8, 29.9]}
    near = {"kind": "near", "row": "a", "than": "b"}
    assert verdict(flat, **near, within=1.0).verdict == "reproduced"
    assert verdict(flat, **near, within=0.3).verdict == "inconclusive"
    far = flat | {"b": [15.0, 25.1, 34.9]}
    assert verdict(far, **near, within=1.0).verdict == "contradicted"
    assert verdict(far, kind="near", row="b", than="a", within=1.0).verdict == "contradicted"
    rows = {"kind": "insensitive", "rows": ["a", "b", "c"]}
    assert verdict(flat, **rows, within=1.0).verdict == "reproduced"
    # each is close to its neighbour in the list, but the two ends are not: the largest difference counts
    ends = {"b": [10.3, 20.31, 30.29], "a": [10.0, 20.0, 30.0], "c": [9.5, 19.49, 29.5]}
    drift = {"kind": "insensitive", "rows": ["b", "a", "c"], "within": 0.7}
    assert verdict(ends, **drift).verdict == "contradicted"
    assert verdict(ends, **drift | {"within": 0.9}).verdict == "reproduced"


def test_rows_that_learnt_nothing_are_not_called_alike() -> None:
    dead = {"a": [0.0, 0.0], "b": [0.0, 0.0]}
    assert verdict(dead, kind="near", row="a", than="b", within=1.0).verdict == "untestable"


def test_a_tie_outranks_what_is_open_but_not_what_fails() -> None:
    """More seeds never part rows of the same runs; a row that is clearly better contradicts all the same."""
    best = {"kind": "best", "row": "b"}
    same = {"b": "shared", "c": "shared"}
    noise = {"a": [1.0, 9.0, 4.0], "b": [5.0, 5.1, 4.9], "c": [5.0, 5.1, 4.9], "d": [1.0, 1.1, 0.9]}
    assert verdict(noise, runs=same, **best).verdict == "untestable"
    assert verdict(noise | {"d": [9.0, 9.1, 8.9]}, runs=same, **best).verdict == "contradicted"


@pytest.mark.parametrize(
    "claim",
    [
        GREATER | {"by": 1.5},
        {"kind": "near", "row": "a", "than": "b", "within": 2.5},
        {"kind": "near", "row": "a", "than": "b", "within": 1.0},
    ],
)
@pytest.mark.parametrize("scale", ["tiny", "paper"])
def test_p_is_below_a_twentieth_where_the_interval_decides(claim, scale) -> None:
    for third in numpy.linspace(-20, 20, 201):
        judged = verdict({"a": [20.0, 26.0, 14.0], "b": [22.0, 28.1, 15.9 + third]}, scale=scale, **claim)
        assert (judged.chance < 0.05) == (judged.verdict != "inconclusive")


def test_p_of_one_comparison_is_that_of_the_t_test() -> None:
    judged = verdict(UNSURE, **GREATER)
    differences = [b - a for a, b in zip(UNSURE["a"], UNSURE["b"], strict=True)]
    assert judged.chance == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert verdict({"a": [1.0], "b": [50.0]}, **GREATER).chance is None
    assert verdict({"a": [90.0], "b": [98.0]}, **GREATER, metric="prop").chance is None


def test_quoted_rows_are_compared_at_paper_scale_only() -> None:
    own = {"b": [35.0, 35.2, 34.9]}
    assert verdict(own, quoted=("a",), **GREATER).verdict == "not run"
    assert verdict(own, scale="paper", quoted=("a",), **GREATER).verdict == "reproduced"
    assert verdict(own, scale="paper", quoted=("a",), **GREATER, by=6.0).verdict == "contradicted"
    assert verdict({"b": [35.0]}, scale="paper", quoted=("a",), **GREATER).verdict == "inconclusive"
    assert verdict({}, scale="paper", quoted=("a",), **GREATER).verdict == "not run"
    assert verdict({}, scale="paper", quoted=("a", "b"), **GREATER).verdict == "not run"


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (GREATER, True),
        ({"kind": "greater", "row": "a", "than": "b"}, False),
        ({"kind": "greater", "row": "b", "than": "c"}, None),  # both print 30.7
        (GREATER | {"by": 0.5}, True),
        (GREATER | {"by": 0.6}, None),  # within rounding of 0.6
        (GREATER | {"by": 0.7}, False),
        ({"kind": "best", "row": "b"}, None),  # c may be above it
        ({"kind": "best", "row": "a"}, False),
        ({"kind": "worst", "row": "d"}, True),
        ({"kind": "monotone", "direction": "up", "rows": ["d", "a", "b"]}, True),
        ({"kind": "peak", "row": "a", "rows": ["d", "a", "b"]}, False),
        ({"kind": "near", "row": "b", "than": "c", "within": 0.1}, True),
        ({"kind": "insensitive", "rows": ["a", "b", "c"], "within": 0.6}, None),
        ({"kind": "insensitive", "rows": ["a", "b", "c"], "within": 0.5}, False),
    ],
)
def test_the_papers_own_numbers(claim: dict, expected: bool | None) -> None:
    assert verdict({}, **claim).published is expected


def test_cells_of_other_tables() -> None:
    here, there = result({"a": [1.0, 2.0]}), result({"b": [3.0, 4.1]}, table="3")
    claim = Claim.model_validate(
        {
            "id": "c", "text": "t", "section": "3", "metric": "AP", "kind": "greater",
            "row": {"row": "b", "table": "boxinst/3"}, "than": "a",
        },
        strict=False,
    )  # fmt: skip
    both = {"boxinst/2": here, "boxinst/3": there}
    assert judge(claim, here.table, both, "tiny").verdict == "reproduced"
    alone = judge(claim, here.table, {"boxinst/2": here}, "tiny")
    assert (alone.verdict, alone.published) == ("not run", None)
