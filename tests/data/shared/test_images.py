"""Rows that see other images, or the same ones otherwise, get no notes."""

import json
import shutil

import pytest

from tests.data.shared.streams import KINDS, assert_same, note, noted, plain, read, recipe

OTHERS = {
    "boxinst": [
        {"seed": 1}, {"schedule__batch": 6}, {"data__augment": "flip"}, {"data__short_side": [48]},
        {"data__train_images": 7}, {"data__train": "val"},
    ],
    "boxcaseg": [
        {"seed": 1}, {"schedule__batch": 6}, {"boxcaseg__ratio": "8:8"}, {"boxcaseg__salient_images": 4},
        {"boxcaseg__shift": "full"}, {"boxcaseg__normalise": "imagenet"}, {"boxcaseg__patch": 16},
        {"boxcaseg__side": 48}, {"boxcaseg__heads": ["weak"], "data__supervision": "boxes"},
    ],
    "baiseg": [
        {"seed": 1}, {"schedule__batch": 6}, {"baiseg__crop": 32}, {"data__augment": "none"},
        {"data__short_side": [48]},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "other"), [(kind, other) for kind, others in OTHERS.items() for other in others], ids=str
)
def test_another_stream_of_images_gets_no_notes(kind, other, place):
    note(read(recipe(kind), place))
    row = recipe(kind, **other)
    found = read(row, place)
    assert not any(noted(found))
    assert_same(found, plain(row, place))
    assert not any(noted(read(recipe(kind), place))), "one stream is kept"


def test_another_split_into_micro_batches_gets_no_notes(place):
    note(read(recipe(), place))
    found = read(recipe(), place, micro=1)
    assert not any(noted(found))
    assert_same(found, plain(recipe(), place, micro=1))


@KINDS
def test_heads_and_losses_do_not_change_what_is_seen(kind, place):
    other = {
        "boxinst": {"method": "condinst", "loss__pairwise": None, "schedule__iterations": 7},
        "boxcaseg": {"boxcaseg__alpha": 0.1, "boxcaseg__smooth": 0.5, "boxcaseg__bags": "box"},
        "baiseg": {"baiseg__cfm": False, "baiseg__cascades": 1, "baiseg__ppc": False},
    }[kind]
    note(read(recipe(kind), place))
    assert all(noted(read(recipe(kind, **other), place)))


def test_heads_that_see_fewer_patches_share_none(place):
    """Without the weak head no box is seen: other batches at the same place."""
    note(read(recipe("boxcaseg"), place))
    row = recipe("boxcaseg", boxcaseg__heads=["salient"])
    found = read(row, place)
    assert_same(found, plain(row, place))
    assert not any(noted(found))


def test_another_root_gets_no_notes(place, tmp_path):
    note(read(recipe(), place))
    shutil.copytree(place, tmp_path / "shapes")
    assert not any(noted(read(recipe(), tmp_path / "shapes")))


def test_an_edited_root_is_read_again(place, tmp_path):
    copy = tmp_path / "shapes"
    shutil.copytree(place, copy)
    note(read(recipe(), copy))
    file = copy / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    for entry in content["annotations"]:
        x, y, w, h = entry["bbox"]
        entry["bbox"] = [x, y, w - 2, h - 2]
    file.write_text(json.dumps(content))
    found = read(recipe(), copy)
    assert not any(noted(found))
    assert_same(found, plain(recipe(), copy))
