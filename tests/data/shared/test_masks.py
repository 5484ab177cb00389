"""Rows that learn other masks of the same images see their own, and find the notes."""

import json

import numpy as np
import pytest
import torch
from pycocotools import mask as rle

from tests.data.shared.streams import assert_same, note, noted, plain, read, recipe


@pytest.mark.parametrize("order", [("boxes", "masks"), ("masks", "boxes"), ("masks-voc", "masks-nonvoc")])
def test_rows_with_other_supervision_see_their_own_masks_and_find_the_notes(order, place):
    rows = [recipe(data__supervision=kind) for kind in order]
    for row in (*rows, *rows):
        found = read(row, place)
        assert_same(found, plain(row, place))
        note(found)
    assert all(noted(read(rows[1], place, 3, 2)))


def test_the_control_that_sees_instances_shares_crops_with_rows_that_do_not(place):
    rows = [recipe("baiseg", data__supervision=kind) for kind in ("semantic", "masks")]
    for row in (*rows, *rows):
        found = read(row, place)
        assert_same(found, plain(row, place))
        assert all((b.instances is None) == (row is rows[0]) for micros in found for b in micros)
        note(found)
    assert all(noted(read(rows[0], place)))


def masks_made(place, shrink):
    """Annotation id -> a mask for every training object: its box without `shrink` pixels at each side."""
    content = json.loads((place / "annotations" / "instances_train.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    found = {}
    for entry in content["annotations"]:
        x, y, w, h = (round(value) for value in entry["bbox"])
        canvas = np.zeros(sizes[entry["image_id"]], np.uint8, order="F")
        canvas[y + shrink : y + h - shrink, x + shrink : x + w - shrink] = 1
        found[entry["id"]] = rle.encode(canvas)
    return found


def learner(merge=True):
    proxy = {"parent": "boxcaseg-0123456789", "merge": merge}
    return recipe(method="mask_rcnn", data__supervision="proxy", proxy=proxy)


def test_masks_that_another_run_made_are_the_rows_own(place):
    all_of_them, fewer = masks_made(place, 0), dict(list(masks_made(place, 2).items())[::2])
    for row, proxies in [(learner(), all_of_them), (learner(merge=False), fewer), (learner(), all_of_them)]:
        found = read(row, place, proxies=proxies)
        assert_same(found, plain(row, place, proxies=proxies))
        note(found)
    assert all(noted(read(recipe(method="mask_rcnn", data__supervision="masks"), place)))


def test_masks_of_a_network_that_was_trained_again_are_the_new_ones(place):
    """Its recipe, and with it the learner's, is the same as before."""
    for shrink in (0, 3):
        proxies = masks_made(place, shrink)
        assert_same(read(learner(), place, proxies=proxies), plain(learner(), place, proxies=proxies))


def objects_made(place, shift):
    """Image id -> two objects of its own, as of a network that knows no boxes."""
    found = {}
    for image in json.loads((place / "annotations" / "instances_train.json").read_text())["images"]:
        entries = []
        for n in range(2):
            canvas = np.zeros((image["height"], image["width"]), np.uint8, order="F")
            x, y = 5 + 25 * n, 8 + 20 * n + shift
            canvas[y : y + 20, x : x + 15] = 1
            entries.append(
                {"annotation_id": 10 * image["id"] + n, "category_id": 1, "bbox": [x, y, 15, 20],
                 "rle": rle.encode(canvas)}
            )  # fmt: skip
        found[image["id"]] = entries
    return found


def test_objects_of_another_network_have_boxes_of_their_own_and_no_notes_on_others(place):
    proxy = {"parent": "baiseg-0123456789", "instances": True, "merge": False, "drop": None}
    row = recipe(method="mask_rcnn", data__supervision="proxy", proxy=proxy)
    note(read(recipe(method="mask_rcnn", data__supervision="masks"), place))
    for shift in (0, 9):  # the network was trained again
        proxies = objects_made(place, shift)
        found = read(row, place, proxies=proxies)
        assert not any(noted(found)), "positives are those of the boxes"
        assert_same(found, plain(row, place, proxies=proxies))
        note(found)
        assert all(noted(read(row, place, proxies=proxies)))


@pytest.mark.parametrize("order", [("boxes", "masks"), ("masks", "boxes")])
def test_where_jitter_cuts_objects_a_row_finds_no_notes_on_other_boxes(order, place):
    """Boxes around what is left of masks are not boxes that were clipped."""
    first, second = (
        recipe(data__supervision=kind, data__augment="scale_jitter", data__short_side=[64]) for kind in order
    )
    note(read(first, place))
    found = read(second, place)
    assert_same(found, plain(second, place))
    assert not any(noted(found))
    assert any(
        not torch.equal(a.boxes, b.boxes)
        for mine, theirs in zip(found, plain(first, place), strict=True)
        for x, y in zip(mine, theirs, strict=True)
        for a, b in zip(x.targets, y.targets, strict=True)
    )
