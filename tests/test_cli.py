"""The command line: one line and exit code 1 for what the user can mend, JSON for machines."""

import json
import sys

import pytest

from wsis.cli import main, parsed_overrides
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
        (("plan", "--set", "schedule.lr=fast"), "schedule.lr: Input should be a valid number"),
        (("plan", "--set", "lr"), "--set lr: expected recipe.key=value"),
        (("plan", "--seeds", "one"), "--seeds one: expected whole numbers"),
        (("show", "boxinst/99"), "'boxinst/99' is neither a table"),
        (("evaluate", "boxinst-0000000000"), "no run boxinst-0000000000 at scale tiny"),
        (("affinity", "--scale", "mini"), "scale mini trains on coco: give its root"),
        (("diff", "--reports", "nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_1(run, words, message):
    code, _, error = run(*words)
    assert code == 1
    assert message in error
    assert error.startswith("wsis: ")
    assert "Traceback" not in error


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
    assert parsed_overrides(words) == {"a.b": 1, "c": "none", "d": [1, 2], "e": 1.5, "f": True}
    with pytest.raises(WsisError):
        parsed_overrides(["nothing"])
