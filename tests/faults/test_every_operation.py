"""A training of a toy dies immediately before one of its operations on files; the next one finishes it.

N of them are tried, drawn from SEED.
"""

import os
import random
import shutil
from dataclasses import replace

import torch

from tests.engine.toy_runs import OPTIONS, plan_of, recipe_of, toys  # noqa: F401 (a fixture)
from tests.faults.operations import watch
from tests.faults.same import differences, half_written
from wsis.engine.run import train_runs

EACH = replace(OPTIONS, train=replace(OPTIONS.train, checkpoint_iterations=2))


def trained(folder, last=None):
    """Train the toy in a process that dies before operation `last`; its code, and how many it began."""
    recipe = recipe_of()
    reads, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            torch.set_num_threads(1)
            watch(folder, tells, last)
            train_runs(plan_of(recipe), [recipe.id], folder, folder.parent / "d", EACH)
            code = 0
        finally:
            os._exit(code)
    os.close(tells)
    with os.fdopen(reads) as told:
        count = len(told.readlines())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), count


def test_a_training_that_dies_before_any_operation_is_finished_by_the_next(tmp_path, toys):  # noqa: F811
    whole, hit = tmp_path / "whole", tmp_path / "hit"
    code, count = trained(whole)
    assert code == 0 and count > 40
    draw = random.Random(os.environ.get("SEED", "1"))
    for last in draw.sample(range(1, count), int(os.environ.get("N", "6"))):
        assert trained(hit, last) == (-9, last)
        assert trained(hit)[0] == 0
        assert not differences(hit, whole) and not half_written(hit), last
        shutil.rmtree(hit)
