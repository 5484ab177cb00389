"""A small drawn root, and a process that has kept nothing yet."""

import pytest

from wsis.data import shared
from wsis.data.shapes.write import write_shapes
from wsis.declare.specs.data import ShapesSpec

SHAPES = ShapesSpec(size=64, train_images=10, val_images=3, salient_images=6)


@pytest.fixture(scope="package")
def place(tmp_path_factory):
    return write_shapes(SHAPES, 0, tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Nothing is kept of other tests, as in a process that has just started."""
    monkeypatch.setattr(shared, "_STREAMS", shared._Kept(1))
    monkeypatch.setattr(shared, "_SAMPLES", shared._Kept(3))
