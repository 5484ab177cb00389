"""Which root a recipe reads."""

from pathlib import Path

import pytest

from wsis.data.places import named_roots, run_root
from wsis.declare.recipe import DataSpec, Recipe
from wsis.errors import WsisError


def recipe(dataset):
    return Recipe(method="boxinst", data=DataSpec(dataset=dataset))


def test_a_plain_path_serves_every_data_set_and_named_ones_their_own():
    both = "coco=/a=b,voc=/c"
    assert run_root(recipe("coco"), Path("r"), "paper", both) == Path("/a=b")
    assert run_root(recipe("voc"), Path("r"), "paper", both) == Path("/c")
    assert run_root(recipe("voc"), Path("r"), "paper", Path("/d,e")) == Path("/d,e")
    assert named_roots(None) == {}


def test_generated_roots_ignore_what_is_given():
    found = run_root(recipe("shapes"), Path("r"), "tiny", "/a")
    assert found.parent == Path("r/tiny/data")


@pytest.mark.parametrize("given", [None, "coco=/a"])
def test_a_data_set_without_root_is_named(given):
    with pytest.raises(WsisError, match="voc=PATH"):
        run_root(recipe("voc"), Path("r"), "paper", given)
