"""What the tests of trained runs share: rows, settings, the command line, equal instances."""

import numpy as np
from typer.testing import CliRunner

from wsis.cli import app

ROWS = {"detector": ("boxinst/3", "box mask"), "filler": ("boxcaseg/7", "PASCAL, boxes as masks")}
SET = {"predict.score": 0.0, "predict.detections": 5}  # or nothing is detected after a few steps


def same(one, other):
    return np.array_equal(one.boxes, other.boxes) and np.array_equal(one.masks, other.masks)


def run_cli(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output
