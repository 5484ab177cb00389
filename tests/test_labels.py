"""docs/labels.md: its commands exist, and its YOLO folder becomes a root that can be fitted."""

import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from wsis.cli import app
from wsis.data.check.report import Uses
from wsis.data.check.root import check_root
from wsis.fit.facts import data_facts

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def labels():
    spec = importlib.util.spec_from_file_location("labels", DOCS / "labels.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def blocks(labels):
    return labels.blocks((DOCS / "labels.md").read_text(encoding="utf-8"))


def test_every_command_of_the_page_has_its_options(blocks):
    group = typer.main.get_command(app)
    lines = [line for kind, text in blocks if kind == "sh" for line in text.splitlines()]
    assert len(lines) >= 6
    for line in lines:
        program, name, *words = shlex.split(line)
        command, inside = group.commands[name], typer.Context(group)
        if name == "data":
            command, words = command.commands[words[0]], words[1:]
        assert program == "wsis"
        command.make_context(name, words, parent=inside)  # raises where it can't be parsed


def test_a_yolo_folder_becomes_a_root_that_can_be_fitted(labels, blocks, shapes, tmp_path):
    pytest.importorskip("supervision")
    labels.write_yolo(shapes, tmp_path / "yolo")
    assert "is a YOLO data set" in str(check_root(tmp_path / "yolo"))
    script = next(text for kind, text in blocks if kind == "python")
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
    assert check_root(tmp_path / "mine", uses=Uses(predict_only=True)).ok
    converted, drawn = data_facts(tmp_path / "mine"), data_facts(shapes)
    assert (converted.train, converted.val, converted.val_masks) == ("train", "val", False)
    for name in ("images", "objects", "classes", "typical"):
        assert getattr(converted, name) == getattr(drawn, name)
