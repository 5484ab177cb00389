"""Where detectron2 is not installed, what needs it says how to get it, in one line."""

from __future__ import annotations

import pytest

import wsis.detectron2
from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import DataSpec
from wsis.declare.specs.model import ModelSpec
from wsis.errors import WsisError
from wsis.methods import build_method


@pytest.mark.parametrize(
    "ask",
    [
        lambda: wsis.detectron2.register("root", "train2017", Recipe(method="boxinst")),
        lambda: wsis.detectron2.configuration(Recipe(method="boxinst"), 3),
        lambda: wsis.detectron2.load("folder"),
        lambda: wsis.detectron2.export("run", "out"),
    ],
)
def test_one_clear_error(ask, monkeypatch):
    monkeypatch.setattr("wsis.detectron2.installed", lambda: False)
    with pytest.raises(
        WsisError, match=r"^detectron2 is not installed: .*make detectron2.*environment\.yml"
    ) as error:
        ask()
    assert "\n" not in str(error.value)


def test_a_stored_run_of_it_names_the_provider():
    model = ModelSpec(head="mask_rcnn", provider="detectron2", weights="none")
    recipe = Recipe(method="mask_rcnn", data=DataSpec(supervision="masks"), model=model)
    with pytest.raises(
        WsisError, match=r"method mask_rcnn: model\.provider detectron2: detectron2 is not installed"
    ):
        build_method(recipe, 3)
