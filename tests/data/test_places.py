"""Which root a recipe reads."""

import json
from pathlib import Path

import pytest

from wsis.data.places import named_roots, run_root, salient_place
from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import DataSpec
from wsis.errors import WsisError


def recipe(dataset):
    return Recipe(method="boxinst", data=DataSpec(dataset=dataset))


def test_named_roots_serve_their_own_data_set():
    both = "coco=/a=b,voc=/c"
    assert run_root(recipe("coco"), Path("r"), "paper", both) == Path("/a=b")
    assert run_root(recipe("voc"), Path("r"), "paper", both) == Path("/c")
    assert named_roots(None) == {}


def test_a_plain_path_is_told_by_its_layout(tmp_path):
    assert named_roots("/d,e") == {"coco": Path("/d,e")}
    (tmp_path / "ImageSets").mkdir()
    assert named_roots(tmp_path) == {"voc": tmp_path}
    assert run_root(recipe("voc"), Path("r"), "paper", tmp_path) == tmp_path


def test_mappings_and_homes():
    odd = {"coco": "/d, e=f", "salient": "~/s"}
    for given in (odd, '{coco: "/d, e=f", salient: ~/s}', json.dumps(odd)):
        assert named_roots(given) == {"coco": Path("/d, e=f"), "salient": Path.home() / "s"}
    assert named_roots("coco=~/a,voc=/b c") == {"coco": Path.home() / "a", "voc": Path("/b c")}
    assert named_roots("~/a") == {"coco": Path.home() / "a"}


@pytest.mark.parametrize(
    "given",
    [
        "coco=/a,/b",
        "/a,voc=/b",
        "coc=/a",
        "coco=/a,coco=/b",
        "coco=",
        "{coco: [",
        "{cocoa: /a}",
        "{coco: 5}",
        {"voc": ""},
    ],
)
def test_what_is_half_understood_is_refused(given):
    with pytest.raises(WsisError, match="data_root"):
        named_roots(given)


def test_generated_roots_ignore_what_is_given():
    found = run_root(recipe("shapes"), Path("r"), "tiny", "/a")
    assert found.parent == Path("r/tiny/data")


@pytest.mark.parametrize("given", [None, "coco=/a"])
def test_a_data_set_without_root_is_named(given):
    with pytest.raises(WsisError, match="voc=PATH"):
        run_root(recipe("voc"), Path("r"), "paper", given)


def salient_recipe(dataset, supervision="boxes+salient", images=4):
    data = DataSpec(dataset=dataset, supervision=supervision, shapes={"salient_images": images})
    return Recipe(method="boxcaseg", boxcaseg={}, data=data)


def test_salient_images_have_a_root_of_their_own():
    given = "voc=/a,salient=/b"
    assert salient_place(salient_recipe("voc"), Path("r"), "paper", given) == Path("/b")
    assert run_root(salient_recipe("voc"), Path("r"), "paper", given) == Path("/a")
    assert salient_place(salient_recipe("voc", "boxes"), Path("r"), "paper", given) is None
    with pytest.raises(WsisError, match="voc=PATH,salient=PATH"):
        salient_place(salient_recipe("voc"), Path("r"), "paper", "/a")


def test_generated_salient_images_lie_in_their_root():
    generated = salient_recipe("shapes")
    for given in (None, "coco=/a,salient=/b"):
        place = salient_place(generated, Path("r"), "tiny", given)
        assert place == run_root(generated, Path("r"), "tiny", None) / "salient"
    with pytest.raises(WsisError, match="salient_images above 0"):
        salient_place(salient_recipe("shapes", images=0), Path("r"), "tiny", None)
