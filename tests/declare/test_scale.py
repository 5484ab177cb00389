"""A scale that extends another one holds what differs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from wsis.declare.load import ROOT, DeclarationError
from wsis.declare.scale import load_scale
from wsis.plan import make_plan

COST = {"device": "d", "seconds_per_image": {"tiny": 1.0}, "megabytes": {"tiny": 1.0}, "source": "s"}
BASE = {
    "name": "tiny",
    "title": "t",
    "seeds": [1, 2],
    "set": {"schedule.lr": 0.1, "data.shapes": {"size": 96, "val_seed": 5}},
    "cost": COST,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "scales").mkdir()
    declare(tmp_path, "tiny", BASE)
    return tmp_path


def declare(root: Path, name: str, tree: dict) -> None:
    (root / "scales" / f"{name}.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))


def extended(root: Path, **tree):
    declare(root, "smoke", {"extends": "tiny", "name": "smoke", **tree})
    return load_scale("smoke", root)


def test_mappings_merge_key_by_key_and_all_else_replaces(root):
    scale = extended(root, seeds=[9], set={"data.shapes": {"size": 64}, "schedule.clip": 5.0})
    assert (scale.name, scale.title, scale.seeds) == ("smoke", "t", (9,))
    assert scale.set == {
        "schedule.lr": 0.1,
        "data.shapes": {"size": 64, "val_seed": 5},
        "schedule.clip": 5.0,
    }
    assert scale.cost == load_scale("tiny", root).cost
    assert load_scale("tiny", root).set == BASE["set"]


def test_null_removes_a_key_that_is_there(root):
    scale = extended(root, set={"schedule.lr": None, "data.shapes": {"val_seed": None}})
    assert scale.set == {"data.shapes": {"size": 96}}


def test_a_null_with_nothing_to_remove_is_refused(root):
    with pytest.raises(DeclarationError, match=r"smoke\.yaml: schedule\.iterations: there is nothing to rem"):
        extended(root, set={"schedule.iterations": None})


def test_what_is_extended_is_validated_as_a_whole(root):
    with pytest.raises(DeclarationError, match=r"smoke\.yaml: sets: unknown key"):
        extended(root, sets={})


def test_an_unknown_scale_and_a_circle_are_named(root):
    with pytest.raises(DeclarationError, match=r"^no scale 'huge' \(there are: tiny\)"):
        load_scale("huge", root)
    declare(root, "mini", {"extends": "huge", "name": "mini"})
    with pytest.raises(
        DeclarationError, match=r"mini\.yaml: extends: no scale 'huge' \(there are: mini, tiny\)"
    ):
        load_scale("mini", root)
    declare(root, "tiny", BASE | {"extends": "smoke"})
    with pytest.raises(DeclarationError, match=r"extends: goes round in a circle: smoke -> tiny -> smoke"):
        extended(root)


def test_a_scale_of_ones_own_is_named_by_its_file(root):
    declare(root, "mine", {"extends": "tiny"})
    assert load_scale("mine", root).name == "mine"
    declare(root, "other", {"extends": "tiny", "name": "tiny"})
    with pytest.raises(
        DeclarationError, match=r"other\.yaml: name: 'tiny' is not the name of the file, 'other'"
    ):
        load_scale("other", root)


@pytest.mark.parametrize("name", [path.stem for path in (ROOT / "scales").glob("*.yaml")])
def test_every_declared_scale_has_its_files_name(name):
    assert load_scale(name).name == name


def test_a_method_on_a_head_has_keys_beside_those_of_the_method(root):
    own = {"boxinst": {"schedule.lr": 0.2}, "boxinst/mask2former": {"schedule": {"lr": 0.3}}}
    scale = extended(root, methods=own, substitute_for={"sim/mask2former": {"model.neck": {"none": "none"}}})
    assert [*scale.of_method("methods", "boxinst", "mask2former")] == [*own.values()]
    assert [*scale.of_method("methods", "boxinst", "condinst")] == [own["boxinst"], {}]
    assert [*scale.of_method("substitute_for", "sim", "condinst")] == [{}, {}]
    assert [*scale.of_method("substitute_for", "sim", "mask2former")][1] == {"model.neck": {"none": "none"}}


def test_of_the_rows_on_resnet101_tiny_trains_those_on_mask2former():
    plan = make_plan("tiny", seeds=(1,))
    found = {}
    for label in plan.tables["sim/1"].labels:
        for run in plan.row_runs("sim/1", label).values():
            found[label] = plan.runs[run].recipe
    queries = {label: recipe for label, recipe in found.items() if recipe.model.head == "mask2former"}
    assert {*queries} == {"BoxInst+ Mask2Former R-101 50e", "SIM+ Mask2Former R-101 50e"}
    for recipe in queries.values():
        assert (recipe.model.backbone, recipe.schedule.total, recipe.schedule.lr) == ("tiny", 400, 1e-3)
        assert recipe.data.augment == "dihedral"
    assert "BoxInst R-101 3x" not in found
