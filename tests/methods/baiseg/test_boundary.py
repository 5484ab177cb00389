"""Boundary responses where nothing was labelled: hand-made images with known answers, loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as masks

from wsis.errors import WsisError
from wsis.methods.baiseg.boundary import (
    GROUPS,
    REACH,
    VOID,
    BoundaryScores,
    instance_map,
    pixel_groups,
    separated,
)

H, W = 30, 44
NONE = np.zeros(0, bool)


def encode(mask: np.ndarray) -> dict:
    return masks.encode(np.asfortranarray(mask, dtype=np.uint8))


def rectangle(x0: int, x1: int, y0: int = 5, y1: int = 25) -> np.ndarray:
    mask = np.zeros((H, W), bool)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.fixture
def squares():
    """Two squares of one class, side by side, with a texture edge down the middle of the right one."""
    left, right = rectangle(2, 22), rectangle(22, 42)
    instances = instance_map([encode(left), encode(right)], (H, W))
    semantic = np.where(instances > 0, 2, 0).astype(np.uint8)
    texture = np.zeros((H, W), np.uint8)
    texture[8:22, 31:33] = 255
    return instances, np.array([1, 1]), semantic, texture


def by_pixels(instances, labels, semantic, texture):
    """The groups pixel by pixel, from their definitions."""
    h, w = instances.shape

    def neighbours(y, x):
        around = ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
        return [(a, b) for a, b in around if 0 <= a < h and 0 <= b < w]

    contour, contact, pairs = set(), set(), set()
    for y in range(h):
        for x in range(w):
            for other in neighbours(y, x):
                classes = int(semantic[y, x]), int(semantic[other])
                if VOID not in classes and classes[0] != classes[1]:
                    contour.add((y, x))
                one, two = int(instances[y, x]), int(instances[other])
                if one != two and one and two and labels[one - 1] == labels[two - 1]:
                    contact.add((y, x))
                    pairs.add((min(one, two) - 1, max(one, two) - 1))
    void = {(int(y), int(x)) for y, x in np.argwhere(semantic == VOID)}
    textured = set() if texture is None else {(int(y), int(x)) for y, x in np.argwhere(texture)}
    found = {name: np.zeros((h, w), bool) for name in GROUPS}
    for y in range(h):
        for x in range(w):

            def near(pixels, y=y, x=x):
                return any(abs(y - a) <= 3 and abs(x - b) <= 3 for a, b in pixels)

            if near(void):
                continue
            found["contour"][y, x] = (y, x) in contour
            if near(contour):
                continue
            found["contact"][y, x] = (y, x) in contact
            if semantic[y, x] == 0 or near(contact):
                continue
            found["texture"][y, x] = (y, x) in textured
            found["interior"][y, x] = not near(textured)
    return found, sorted(pairs)


def scene(seed: int):
    """Random rectangles of two classes, some touching, with void patches and texture: 24 x 30."""
    rng = np.random.default_rng(seed)
    h, w = 24, 30
    rles, labels = [], []
    for _ in range(5):
        y, x = int(rng.integers(0, 14)), int(rng.integers(0, 18))
        mask = np.zeros((h, w), bool)
        mask[y : y + rng.integers(8, 16), x : x + rng.integers(8, 16)] = True
        rles.append(encode(mask))
        labels.append(int(rng.integers(0, 2)))
    instances = instance_map(rles, (h, w))
    semantic = np.concatenate([[0], np.array(labels) + 1])[instances].astype(np.uint8)
    semantic[rng.random((h, w)) < 0.002] = VOID
    texture = (rng.random((h, w)) < 0.02).astype(np.uint8) * 255
    return instances, np.array(labels), semantic, texture


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("textured", [True, False])
def test_groups_by_loops(seed, textured):
    instances, labels, semantic, texture = scene(seed)
    texture = texture if textured else None
    found = pixel_groups(instances, labels, semantic, texture)
    expected, pairs = by_pixels(instances, labels, semantic, texture)
    for name in GROUPS:
        np.testing.assert_array_equal(getattr(found, name), expected[name], err_msg=name)
    assert [tuple(pair) for pair in found.pairs] == pairs


def test_two_touching_squares(squares):
    groups = pixel_groups(*squares)
    assert groups.pairs.tolist() == [[0, 1]]
    # The contact: columns 21 and 22, without the rows within reach of the outline's contour (rows 4 and 5).
    contact = np.zeros((H, W), bool)
    contact[5 + 1 + REACH : 24 - REACH, 21:23] = True
    np.testing.assert_array_equal(groups.contact, contact)
    texture = np.zeros((H, W), bool)
    texture[9:21, 31:33] = True  # row 8 is within reach of the outline's inner pixels, row 5; so is row 21
    np.testing.assert_array_equal(groups.texture, texture)
    assert groups.interior[15, 10] and not groups.interior[15, 22 + REACH] and groups.interior[15, 23 + REACH]
    assert not groups.interior[:, 31 - REACH : 33 + REACH].any()
    everything = np.stack([getattr(groups, name) for name in GROUPS])
    assert everything.sum(0).max() == 1
    apart = pixel_groups(squares[0], np.array([0, 1]), np.where(squares[0] > 0, squares[0], 0))
    assert not apart.contact.any() and len(apart.pairs) == 0 and apart.contour[15, 21:23].all()


def test_void_belongs_to_no_group(squares):
    instances, labels, semantic, texture = squares
    semantic = semantic.copy()
    semantic[15, 22] = VOID
    before, after = pixel_groups(*squares), pixel_groups(instances, labels, semantic, texture)
    hidden = np.zeros((H, W), bool)
    hidden[15 - REACH : 16 + REACH, 22 - REACH : 23 + REACH] = True
    for name in GROUPS:
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name) & ~hidden)
    nothing = pixel_groups(instances, labels, np.full_like(semantic, VOID), texture)
    assert not any(getattr(nothing, name).any() for name in GROUPS)


def test_smaller_objects_lie_in_front():
    big, small = rectangle(2, 42), rectangle(10, 20, 10, 20)
    for order in ([big, small], [small, big]):
        found = instance_map([encode(mask) for mask in order], (H, W))
        assert ((found == 1 + (order[0] is big)) == small).all()
    assert not instance_map([], (H, W)).any()


def test_maps_of_other_sizes_are_refused(squares):
    instances, labels, semantic, texture = squares
    with pytest.raises(WsisError, match=r"semantic map of \(29, 44\)"):
        pixel_groups(instances, labels, semantic[1:], texture)
    with pytest.raises(WsisError, match=r"texture map of \(30, 43\)"):
        pixel_groups(instances, labels, semantic, texture[:, 1:])
    groups = pixel_groups(*squares)
    for wrong, complaint in (
        (np.zeros((H, W + 1), np.float32), "of another|an image of"),
        (np.full((H, W), np.nan, np.float32), "outside"),
        (np.full((H, W), 1.5, np.float32), "outside"),
    ):
        with pytest.raises(WsisError, match=complaint):
            BoundaryScores().add(groups, wrong, NONE)


def test_known_responses(squares):
    groups = pixel_groups(*squares)
    boundary = np.full((H, W), 0.5, np.float32)  # where no group is
    for name, value in zip(GROUPS, (0.875, 0.375, 0.25, 0.0625), strict=True):
        boundary[getattr(groups, name)] = value
    scores = BoundaryScores()
    scores.add(groups, boundary, np.array([True]))
    content = scores.result()
    assert content["images"] == content["pairs"] == 1
    assert content["pixels"] == {name: getattr(groups, name).sum() for name in GROUPS}
    assert content["measures"] == pytest.approx({
        "response_contour": 87.5, "response_contact": 37.5, "response_texture": 25.0,
        "response_interior": 6.25, "contact_AUC": 100.0, "contact_texture_AUC": 100.0, "split": 100.0,
    })  # fmt: skip
    scores.add(groups, 1 - boundary, np.array([False]))
    measures = scores.result()["measures"]
    assert measures["response_contact"] == pytest.approx(50) and measures["split"] == 50
    # Contacts: half 0.375, half 0.625; interiors: half 0.0625, half 0.9375. One of two is above, always.
    assert measures["contact_AUC"] == pytest.approx(50)
    flat = BoundaryScores()
    flat.add(groups, np.full((H, W), 0.3, np.float32), np.array([True]))
    assert flat.result()["measures"]["contact_AUC"] == flat.result()["measures"]["contact_texture_AUC"] == 50


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("law", ["uniform", "saturated", "ties"])
def test_areas_under_the_curve_by_pairs(seed, law):
    rng = np.random.default_rng(seed)
    scores, pooled = BoundaryScores(), {name: [] for name in GROUPS}
    for image in range(3):
        groups = pixel_groups(*scene(10 * seed + image))
        logits = rng.normal(-10 if law == "saturated" else 0, 3, groups.contour.shape) + 2 * groups.contact
        boundary = (1 / (1 + np.exp(-logits))).astype(np.float32)
        if law == "ties":
            boundary = np.round(boundary * 4) / 4
        scores.add(groups, boundary, np.zeros(len(groups.pairs), bool))
        for name in GROUPS:
            pooled[name] += boundary[getattr(groups, name)].tolist()
    measures = scores.result()["measures"]
    for name in GROUPS:
        expected = 100 * np.mean(pooled[name]) if pooled[name] else None
        assert measures[f"response_{name}"] == (None if expected is None else pytest.approx(expected))
    assert pooled["contact"] and pooled["interior"]
    for name, against in (("contact_AUC", "interior"), ("contact_texture_AUC", "texture")):
        compared = [(a, b) for a in pooled["contact"] for b in pooled[against]]
        if not compared:
            assert measures[name] is None
            continue
        expected = 100 * np.mean([(a > b) + 0.5 * (a == b) for a, b in compared])
        # Two values of a bin are ties: they count half instead of all or nothing.
        tied = 50 * np.mean([a != b and abs(a - b) <= max(a, b) / 2048 for a, b in compared])
        assert abs(measures[name] - expected) <= tied + 1e-9 and tied < 0.5


def test_what_is_not_there_is_undefined(squares):
    instances, labels, semantic, _ = squares
    measures = BoundaryScores().result()["measures"]
    assert set(measures.values()) == {None}
    photograph = BoundaryScores()
    photograph.add(pixel_groups(instances, labels, semantic), np.zeros((H, W), np.float32), np.array([False]))
    measures = photograph.result()["measures"]
    assert {name for name, value in measures.items() if value is None} == {
        "response_texture",
        "contact_texture_AUC",
    }
    assert measures["split"] == 0 and measures["response_contour"] == 0
    alone = BoundaryScores()
    alone.add(pixel_groups(*squares), None, np.array([True]))
    measures = alone.result()["measures"]
    assert {name for name, value in measures.items() if value is not None} == {"split"}


def test_pairs_that_predictions_separate():
    left, right, both = rectangle(2, 22), rectangle(22, 42), rectangle(2, 42)
    objects, pairs = [encode(left), encode(right)], np.array([[0, 1]])

    def split(*predictions: np.ndarray) -> bool:
        (found,) = separated(objects, [encode(mask) for mask in predictions], pairs)
        return bool(found)

    assert split(left, right) and split(right, left)
    assert not split(rectangle(2, 8), rectangle(36, 42))  # parts of both: neither is found
    assert not split(both)
    assert not split(left)  # nothing was found of the other
    assert split(both, left, right) and not split(both, left)  # what is best of the right one is half of it
    assert split(left, rectangle(22, 33)) and not split(left, rectangle(22, 32))  # half is not enough
    assert not split()
    assert separated(objects, [encode(left)], np.zeros((0, 2), np.int64)).shape == (0,)


@pytest.mark.parametrize("seed", range(4))
def test_separated_by_loops(seed):
    rng = np.random.default_rng(seed)

    def some(number: int) -> list[np.ndarray]:
        found = []
        for _ in range(number):
            x, y = int(rng.integers(0, 30)), int(rng.integers(0, 20))
            found.append(rectangle(x, x + int(rng.integers(3, 20)), y, y + int(rng.integers(3, 15))))
        return found

    objects = some(8)
    predictions = [np.roll(mask, 1, 1) for mask in objects[:6]] + some(6)
    pairs = [(i, j) for i in range(8) for j in range(i + 1, 8)]

    def best(mask):
        ious = [(mask & made).sum() / (mask | made).sum() for made in predictions]
        return None if max(ious) <= 0.5 else int(np.argmax(ious))

    expected = []
    for i, j in pairs:
        a, b = best(objects[i]), best(objects[j])
        expected.append(a is not None and b is not None and a != b)
    found = separated([encode(m) for m in objects], [encode(m) for m in predictions], np.array(pairs))
    assert found.tolist() == expected and 0 < sum(expected) < len(pairs)
