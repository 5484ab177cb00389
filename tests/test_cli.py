"""The command line: one line and exit code 1 for what the user can mend, JSON for machines."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
import typer

from wsis.cli import app, main
from wsis.commands.bench import bench_app, benches
from wsis.configuration import entries
from wsis.declare.load import ROOT
from wsis.errors import WsisError


@pytest.fixture
def run(monkeypatch, capsys):
    """Run `wsis WORDS`; returns exit code, stdout, stderr."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["wsis", *words])
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return end.value.code, captured.out, captured.err

    return call


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("plan", "--scale", "huge"), "no scale 'huge' (there are: mini, paper, smoke, tiny)"),
        (("plan", "--set", "schedule.lrr=1"), "schedule.lrr: unknown key"),
        (("plan", "--set", "schedule=5"), "schedule: Input should be an object"),
        (("plan", "boxinst-3"), "no table or target 'boxinst-3' (the nearest are: boxinst_3, boxinst/3"),
        (("plan", "--seeds", "1,1"), "--seeds 1,1: 1 is given twice"),
        (("plan", "--set", "schedule.lr=fast"), "schedule.lr: Input should be a valid number"),
        (("plan", "--set", "lr"), "--set lr: expected recipe.key=value"),
        (("plan", "--seeds", "one"), "--seeds one: expected whole numbers"),
        (("show", "boxinst/99"), "no run boxinst/99 at scale tiny"),
        (("evaluate", "boxinst-0000000000"), "no run boxinst-0000000000 at scale tiny"),
        (("measure", "colour-affinity", "--scale", "mini"), "scale mini trains on coco: give its root"),
        (("diff", "--reports", "nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_1(run, words, message):
    code, _, error = run(*words)
    assert code == 1
    assert message in error
    assert error.startswith("wsis: ")
    assert "Traceback" not in error


STOPPED = """
import runpy, sys
class Stop:
    def find_spec(self, name, *_):
        if name == "wsis.cli":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Stop())
runpy.run_module("wsis", run_name="__main__")
"""


def test_ctrl_c_while_it_loads_shows_no_traceback():
    done = subprocess.run([sys.executable, "-c", STOPPED], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_json_for_machines(run):
    code, out, _ = run("tables", "--json")
    assert code == 0
    assert sum(not all(row["ours"] for row in table["rows"]) for table in json.loads(out)) == 32
    code, out, _ = run("plan", "--scale", "tiny", "--seeds", "5", "--json")
    assert code == 0
    assert json.loads(out)["seeds"] == [5]


def test_a_table_and_a_run_can_be_looked_at(run):
    code, out, _ = run("show", "boxinst/1a", "--scale", "tiny", "--seeds", "5")
    assert code == 0
    assert "threshold-insensitive" in out
    code, out, _ = run("plan", "--scale", "smoke", "--json")
    id = json.loads(out)["runs"][0]["id"]
    code, out, _ = run("show", id, "--scale", "smoke")
    assert code == 0
    assert "deviates: model.backbone: resnet50 -> tiny" in out


def test_overrides_are_yaml_values():
    words = ["a.b=1", "c=none", "d=[1, 2]", "e=1.5", "f=true"]
    assert entries(words, "{}") == {"a.b": 1, "c": "none", "d": [1, 2], "e": 1.5, "f": True}
    with pytest.raises(WsisError, match="nothing: no value"):
        entries(["nothing"], "{}: no value")


def help_texts(command: click.Command) -> Iterator[str]:
    yield command.help or ""
    yield from (parameter.help or "" for parameter in command.params)
    for inner in getattr(command, "commands", {}).values():
        yield from help_texts(inner)


def test_help_names_no_method_and_no_paper_of_ours():
    texts = [*help_texts(typer.main.get_command(app))]
    named = "|".join(path.name for path in ROOT.iterdir() if (path / "recipe.yaml").exists())
    assert len(texts) > 80
    assert not [text for text in texts if re.search(rf"(?i)\b({named})(?=\b|_)", text)]


def test_benches_of_methods_are_commands():
    group = typer.main.get_command(bench_app)
    names = group.list_commands(None)
    assert len(names) == len({*names}) and {*benches()} < {*names}
    for name in benches():
        assert group.get_command(None, name).help
    assert group.get_command(None, "nonsense") is None
