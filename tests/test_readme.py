"""What README and docs/ say is what there is: counts, links, commands and their reference."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import typer
import yaml

from wsis.cli import app
from wsis.declare.load import load_tables
from wsis.declare.table import Table
from wsis.measures.registry import is_ours

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
DOMAIN = re.compile(r"-on-(mixed|far)-images$")  # judged on rows of ours
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


def code(page: Path) -> str:
    """The page's blocks of code and its inline code, a line each."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return "\n".join([*blocks, *inline])


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page may say."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("pattern", COUNTED)
def test_counts_are_those_of_the_declarations(tables, pattern):
    text = " ".join(README.read_text(encoding="utf-8").split())
    assert re.findall(pattern, text) == [str(COUNTED[pattern](tables))]


def test_the_readme_keeps_to_a_thousand_words():
    assert len(README.read_text(encoding="utf-8").split()) <= 1000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        name, _, heading = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), f"{page.name}: {target}"
        assert not heading or heading in anchors(linked), f"{page.name}: {target}"


def test_every_page_is_linked_from_the_readme():
    text = README.read_text(encoding="utf-8")
    assert [page.name for page in PAGES[2:] if f"docs/{page.name}" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page):
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    commands = typer.main.get_command(app).commands
    assert {*re.findall(r"^make ([a-z0-9-]+)", code(page), re.MULTILINE)} <= {*targets, "help"}
    for name, inner in re.findall(r"^wsis ([a-z][a-z-]*)(?: ([a-z]+)\b)?", code(page), re.MULTILINE):
        assert name in commands, f"{page.name}: wsis {name}"
        group = commands[name]
        if inner and hasattr(group, "list_commands"):
            assert inner in group.list_commands(typer.Context(group)), f"{page.name}: wsis {name} {inner}"


def test_the_command_reference_is_that_of_the_code():
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "docs" / "make.py")
    make_docs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_docs)
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == make_docs.commands(), "make docs"


def test_the_four_papers_are_cited():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["license"] == "Apache-2.0"
    titles = [reference["title"] for reference in cited["references"]]
    assert [any(word in title for title in titles) for word in ("BoxInst", "SIM", "Salient", "BAISeg")] == [
        True
    ] * 4
