"""A method's name stands in its own room and on one line of METHODS: nothing else knows the four methods."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LONG, SHORT = re.compile(r"(?i)boxinst|boxcaseg|baiseg"), "sim"


def sources() -> list[Path]:
    """Every file of Python but the methods' rooms, and of the workflow."""
    rooms = [path for path in (ROOT / "wsis" / "methods").iterdir() if path.is_dir()]
    python = [path for path in (ROOT / "wsis").rglob("*.py") if not {*path.parents} & {*rooms}]
    return [*python, ROOT / "workflow" / "Snakefile", *(ROOT / "workflow").rglob("*.smk")]


def named(path: Path) -> Iterator[str]:
    """'line: token' of each identifier, and each string but docstrings, with a method's name in it."""
    inside = False  # of METHODS, the one dict that names them
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if path.name == "__init__.py" and token.line.startswith("METHODS = {"):
            inside = True
        if inside:
            inside = not token.line.startswith("}")
        elif (token.type == tokenize.NAME or (token.type == tokenize.STRING and not docstring(token))) and (
            names_a_method(token.string)
        ):
            yield f"{token.start[0]}: {token.string}"


def docstring(token: tokenize.TokenInfo) -> bool:
    """Whether a string stands alone on its lines; the workflow's own strings have one quote mark."""
    return token.string.startswith('"""') and token.line.strip().startswith('"""')


def names_a_method(text: str) -> bool:
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", text)
    return bool(LONG.search(text)) or SHORT in (word.lower() for word in words)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_method_is_named_outside_of_its_room(path: Path) -> None:
    assert [*named(path)] == [], path


def test_the_pages_of_the_report_name_no_method() -> None:
    for path in (ROOT / "wsis" / "report" / "site").iterdir():
        assert not LONG.search(path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("similarity", False), ("simple_sim", True), ("SimSpec", True), ("SIM", True), ("build_sim", True),
        ("'sim/3'", True), ("BoxCasegSpec", True), ("simulated", False), ('"masks of BoxInst"', True),
    ],
)  # fmt: skip
def test_a_name_is_a_word_of_its_own(text: str, expected: bool) -> None:
    assert names_a_method(text) == expected
