"""A few faults of the program that `make faults` runs with many, in one chain."""

import os
from random import Random

import pytest

from tests.faults.cases import CRASH, suffered
from tests.faults.flips import flipped
from tests.faults.load import loaded
from tests.faults.operations import watch
from tests.faults.reference import undisturbed
from wsis.files import write_text

SEED = os.environ.get("SEED", "5")


def ends(folder, last):
    """How a process ends that writes a file twice, and the operations that it told."""
    reads, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        watch(folder, tells, last)
        for text in ("old", "new"):
            write_text(folder / "a.txt", text)
        os._exit(0)
    os.close(tells)
    with os.fdopen(reads) as told:
        lines = [line.split("\t")[0] for line in told]
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), lines


def test_a_process_dies_before_any_operation_and_its_files_are_old_or_new(tmp_path):
    code, told = ends(tmp_path / "whole", None)
    assert code == 0 and told[0] == "begin" and told.count("os.rename") == told.count("open") == 2
    for last in range(1, len(told)):
        code, before = ends(tmp_path / str(last), last)
        assert code == -9 and before == told[:last]
        renamed = before.count("os.rename")
        path = tmp_path / str(last) / "a.txt"
        assert (path.read_text() if path.exists() else "") == ("", "old", "new")[renamed]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A chain with both stages of training, proxy masks, measures and pictures."""
    loaded()
    return undisturbed("boxcaseg", tmp_path_factory.mktemp("chain"), alone=True)


@pytest.mark.slow
def test_flipped_bytes_are_found(reference):
    reference.begin(len(reference.commands))
    done, wrong = flipped(reference.place / "results", Random(SEED), int(os.environ.get("N", "45")))
    assert done.total() >= 45 and not wrong, wrong


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "stage"), [("SIGKILL of the process", "proxies"), (CRASH, "evaluation")])
def test_a_command_that_was_killed_ends_as_if_it_was_not(reference, kind, stage):
    outcome = suffered(reference, kind, stage, Random(f"{SEED} {kind}"))
    assert not outcome.wrong, (outcome.what, outcome.wrong)
