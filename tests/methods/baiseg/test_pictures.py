"""BAISeg's pictures: which images are shown, what belongs to which object, and what a report gets."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as masks

from wsis.data.annotations import Instance, Picture
from wsis.methods.baiseg import sheets
from wsis.methods.baiseg.extract.pipeline import extract
from wsis.methods.baiseg.maps import Maps
from wsis.methods.baiseg.pictures import contact_length, look, matched, touching
from wsis.methods.baiseg.sheets import Contact, colours, region_instances
from wsis.methods.baiseg.spec import BaisegSpec
from wsis.pictures import canvas

SIDE = 60
NAMES = ["square", "other"]


def rle(mask: np.ndarray) -> dict:
    return masks.encode(np.asfortranarray(mask.astype(np.uint8)))


def square(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def picture(id: int, *objects: tuple, crowd: int | None = None) -> Picture:
    """objects: (label, (x0, y0, x1, y1)) of squares; crowd: which of them is a crowd region."""
    instances = [
        Instance(place, label, tuple(map(float, box)), place == crowd, rle(square(*box)))
        for place, (label, box) in enumerate(objects)
    ]
    return Picture(id, Path("none.png"), SIDE, SIDE, instances)


LEFT, RIGHT, AWAY = (0, 0, 20, 20), (20, 0, 40, 20), (45, 45, 60, 60)


def test_only_images_with_touching_objects_of_one_class_are_shown():
    pictures = [
        picture(1, (0, LEFT), (1, RIGHT)),  # of two classes
        picture(2, (0, LEFT), (0, AWAY)),  # apart
        picture(3, (0, LEFT), (0, RIGHT), crowd=1),
        picture(4, (0, LEFT), (0, (20, 19, 40, 40))),  # meet in a single pixel's side
        picture(5, (0, LEFT), (0, (20, 0, 23, 20))),  # the second one can't be seen
        picture(6),
        picture(7, *[(0, (10 * i, 0, 10 * i + 10, 20)) for i in range(6)], (1, AWAY)),  # many
        picture(8, (1, AWAY), (0, LEFT), (0, RIGHT)),
        picture(9, (2, LEFT), (2, RIGHT)),
    ]
    assert [c.picture.id for c in touching(pictures, 5, 1)] == [8, 9, 7]
    assert [c.picture.id for c in touching(pictures, 1, 1)] == [8]
    assert touching(pictures[:6], 5, 1) == []


def test_the_longest_contact_comes_first_then_the_largest_objects():
    objects = [(1, AWAY), (0, (0, 20, 8, 40)), (0, LEFT), (0, RIGHT), (1, (42, 0, 60, 40))]
    (contact,) = touching([picture(1, *objects)], 1, 1)
    assert [instance.id for instance in contact.picture.instances] == [2, 3, 4, 0, 1]
    for instance, mask in zip(contact.picture.instances, contact.rles, strict=True):
        assert masks.decode(mask).tolist() == masks.decode(instance.segmentation).tolist()


def test_objects_touch_across_the_band_that_voc_leaves_between_them():
    pictures = [picture(1, (0, LEFT), (0, (26, 0, 46, 20)))]  # six pixels of void
    assert touching(pictures, 1, 1) == []
    assert len(touching(pictures, 1, 7)) == 1


@pytest.mark.parametrize("gap", [1, 3])
def test_a_contact_is_as_long_as_the_rim_that_is_near(gap):
    rng = np.random.default_rng(gap)
    one = np.kron(rng.random((6, 6)) < 0.4, np.ones((4, 4))).astype(np.uint8)
    other = np.kron(rng.random((6, 6)) < 0.4, np.ones((4, 4))).astype(np.uint8) & ~one & 1
    expected = 0
    for y, x in zip(*np.nonzero(one), strict=True):
        around = one[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        near = other[max(y - gap, 0) : y + gap + 1, max(x - gap, 0) : x + gap + 1]
        expected += bool((around == 0).any() and near.any())
    assert contact_length(one, other, gap) == expected > 0


def test_instances_are_matched_one_to_one_by_the_largest_sum_of_ious():
    rng = np.random.default_rng(0)
    for _ in range(10):
        found, truth = (
            [rle(np.kron(rng.random((5, 5)) < 0.3, np.ones((3, 3)))) for _ in range(n)] for n in (4, 3)
        )
        objects, ious = matched(found, truth)
        table = masks.iou(found, truth, [0] * 3)
        best = max(sum(table[r, c] for c, r in enumerate(rows)) for rows in permutations(range(4), 3))
        assert ious.sum() == pytest.approx(best)
        for place, target in enumerate(objects):
            assert target == -1 or ious[target] == table[place, target] > 0
        assert len(set(objects[objects >= 0])) == (objects >= 0).sum()
    objects, ious = matched([], [rle(square(*LEFT))])
    assert objects.shape == (0,) and ious.tolist() == [0]
    assert matched([rle(square(*LEFT))], [rle(square(*AWAY))])[0].tolist() == [-1]


class Given:
    """A method whose maps are given."""

    def __init__(self, boundary: np.ndarray | None, semantic: np.ndarray, **settings) -> None:
        self.extraction = BaisegSpec(threshold=0.5, min_area=4, closing=3, **settings)
        ones = np.ones(semantic.shape, np.float32)
        self.made = Maps(np.zeros((*semantic.shape, 3), np.uint8), boundary, semantic, ones)

    def maps(self, samples):
        return [self.made]


def scene(line: bool = True, **settings):
    """A row of two squares of class 0 that touch and one of class 1, seen by a method.

    line: the boundary map separates the two.
    """
    boxes = [(2, 2, 22, 22), (22, 2, 42, 22), (30, 36, 50, 56)]
    shown = picture(1, *zip((0, 0, 1), boxes, strict=True))
    truth = [square(*box) for box in boxes]
    semantic = (truth[0] | truth[1]) + 2 * truth[2].astype(np.uint8)
    boundary = np.full((SIDE, SIDE), 0.01, np.float32)
    for mask in (truth[0] | truth[1], truth[2]):
        inner = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
        boundary[mask & ~np.pad(inner, 1)] = 0.9
    if line:
        boundary[2:22, 21:23] = 0.9
    method = Given(boundary, semantic.astype(np.uint8), **settings)
    rles = [rle(mask) for mask in truth]
    return Contact(shown, rles, [look(method, None, rles)])


CENTRES = [(12, 12), (12, 34), (46, 40)]  # y, x of the three objects


@pytest.mark.parametrize("settings", [{}, {"refine": False}, {"seeds": "literal"}])
def test_an_object_has_one_colour_in_every_column(settings):
    contact = scene(**settings)
    (seen,) = contact.seen
    assert seen.apart and (seen.ious > 0.8).all()
    (row,) = sheets.steps_sheet([contact], NAMES, "").rows
    assert (row.group, row.name) == ("image 1", "square")
    labelled, instances, truth = row.tiles[3:]
    for place, (y, x) in enumerate(CENTRES):
        instance = seen.objects.tolist().index(place)
        assert region_instances(seen.steps)[seen.steps.regions[y, x]] == instance
        ground, own = np.array(canvas.EMPTY), np.array(canvas.OBJECTS[place])
        expected = sheets.STRONG * own + (1 - sheets.STRONG) * ground
        assert np.abs(labelled.pixels[y, x] - expected).max() <= 1
        assert (instances.pixels[y, x] == truth.pixels[y, x]).all()
        colour = canvas.OBJECTS[place]
        assert [m.text for m in truth.marks if m.colour == colour] == [f"{seen.ious[place]:.2f}"]
        score = f"{seen.steps.instances[instance].score:.2f}"
        assert [m.text for m in instances.marks if m.colour == colour] == [score]
    assert (labelled.pixels[58, 2] == canvas.EMPTY).all(), "no instance, no colour"


def test_two_objects_in_one_instance_are_not_told_apart():
    seen = scene(line=False).seen[0]
    assert not seen.apart
    assert sorted(seen.ious > 0) == [False, True, True]  # one instance can't match both


def test_regions_become_the_instances_that_were_made_of_them():
    rng = np.random.default_rng(1)
    semantic = np.kron(rng.integers(0, 3, (6, 6)), np.ones((10, 10))).astype(np.uint8)
    boundary = rng.random((SIDE, SIDE)).astype(np.float32) ** 4
    for seeds in ("literal", "semantic"):
        settings = BaisegSpec(threshold=0.5, seeds=seeds, refine=False, min_area=4)
        steps = extract(np.zeros((SIDE, SIDE, 3), np.uint8), boundary, semantic, settings)
        of_region = region_instances(steps)
        assert sorted(of_region[of_region >= 0]) == list(range(len(steps.instances))) and steps.instances
        for region, position in enumerate(of_region):
            if position >= 0:
                mask = masks.decode(steps.instances[position].mask) > 0
                assert np.array_equal(mask, steps.regions == region)


def test_instances_without_an_object_are_grey_and_their_neighbours_in_order_differ():
    shown = colours(np.array([-1, 1, -1, -1, 0, 7])).tolist()
    assert [tuple(c) for c in shown] == [
        sheets.EXTRA[0], canvas.OBJECTS[1], sheets.EXTRA[1], sheets.EXTRA[2], canvas.OBJECTS[0],
        canvas.OBJECTS[7 % len(canvas.OBJECTS)],
    ]  # fmt: skip


def test_frames_say_whether_a_pair_is_told_apart():
    good, bad = scene(), scene(line=False)
    contacts = [replace(good, seen=[a.seen[0], b.seen[0]]) for a, b in ((bad, good), (bad, bad))]
    sheet = sheets.contrast_sheet(contacts, NAMES, "")
    frames = [[tile.frame for tile in row.tiles if tile.frame] for row in sheet.rows]
    assert frames == [[sheets.JOINED, sheets.APART], [sheets.JOINED, sheets.JOINED]]
    assert all(len(row.tiles) == len(sheet.headings) for row in sheet.rows)


def test_a_run_without_a_boundary_map_has_pictures():
    contact = scene()
    seen = look(Given(None, contact.seen[0].maps.semantic), None, contact.rles)
    assert seen.steps.lines is None and not seen.apart
    (row,) = sheets.steps_sheet([replace(contact, seen=[seen])], NAMES, "").rows
    assert (row.tiles[1].pixels == sheets.OTHER_CLASSES).all()
