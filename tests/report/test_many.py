"""The correction for many claims, against its definition and a simulation."""

from __future__ import annotations

import numpy
import pytest

from tests.report import fabricated
from wsis.report.many import RATE, correct
from wsis.report.model import ClaimResult


def claims(chances: list[float | None], verdict: str | None = None) -> list[ClaimResult]:
    made = []
    for chance in chances:
        decided = "reproduced" if chance is None or chance < 0.05 else "inconclusive"
        made.append(fabricated.claim("c", "t", verdict or decided, True, "d"))
        made[-1].chance = chance
    return made


def test_q_is_the_step_up_of_benjamini_and_hochberg() -> None:
    chances = (numpy.random.default_rng(1).random(60) ** 3).tolist()
    found = claims(chances)
    level = correct(found)
    ordered = sorted(chances)
    kept = max((k for k, p in enumerate(ordered, 1) if p <= RATE * k / 60), default=0)
    assert sum(c.final == "reproduced" for c in found) == kept > 0
    assert level == pytest.approx(RATE * kept / 60)
    assert all((c.final == "reproduced") == (c.chance <= level) for c in found)


def test_only_tests_are_in_the_family_and_the_others_stay() -> None:
    found = claims([None] * 50, "reproduced") + claims([0.04]) + claims([None], "untestable")
    assert correct(found) == pytest.approx(RATE)
    assert [c.final for c in found] == ["reproduced"] * 51 + ["untestable"]
    assert [c.q for c in found[:50]] == [None] * 50 and found[50].q == pytest.approx(0.04)
    assert correct([]) == RATE


def test_of_what_is_kept_one_in_twenty_is_wrong() -> None:
    draw = numpy.random.default_rng(5)
    wrong = []
    for _ in range(200):
        true = draw.random(100) < 0.4
        found = claims(numpy.where(true, draw.random(100) * 1e-3, draw.random(100)).tolist())
        correct(found)
        kept = numpy.array([c.final == "reproduced" for c in found])
        wrong.append((kept & ~true).sum() / max(1, kept.sum()))
    assert numpy.mean(wrong) < RATE
