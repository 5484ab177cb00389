"""Hard shapes: what makes them hard is in the pictures, and plain ones are what they were."""

from __future__ import annotations

import colorsys
import hashlib
import json
from itertools import pairwise

import numpy as np
import pytest
from pycocotools import mask as rle

from wsis.data.check.root import check_root
from wsis.data.colour import rgb_to_lab
from wsis.data.shapes.plain import HUES, SECOND_HUES, _beside, draw_scene
from wsis.data.shapes.write import write_shapes
from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import ShapesSpec

HARD = ShapesSpec(kind="hard", train_images=50, val_images=10)
TINY = ShapesSpec(kind="hard", size=48, train_images=4, val_images=2)


def draw(count: int, kind: str, low_contrast: float = 0.0):
    return [draw_scene(np.random.default_rng([5, i]), 96, low_contrast, kind) for i in range(count)]


@pytest.fixture(scope="module")
def hard():
    return draw(150, "hard")


@pytest.fixture(scope="module")
def plain():
    return draw(150, "plain")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_shapes(HARD, 0, tmp_path_factory.mktemp("data") / "hard")


def files(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_plain_scenes_are_what_they_were_before_there_were_hard_ones():
    """Labels and masks bit by bit; mean, deviation and a projection of the pixels (CPUs may round)."""
    digest, pixels = hashlib.sha256(), []
    weights = np.sin(np.arange(96 * 96 * 3)).reshape(96, 96, 3)
    for i in range(6):
        scene = draw_scene(np.random.default_rng([1000, 0, i]), 96, 0.12)
        digest.update(bytes(scene.labels) + np.packbits(scene.masks).tobytes())
        pixels.append((scene.image.mean(), scene.image.std(), (scene.image * weights).mean()))
        assert not any(part is not None for part in (*scene.seconds, *scene.faded))
    assert digest.hexdigest() == "27eb8ca3cc56956912976a508ce0cd4daddaf4bb64bbb75da160a7e1a4ea3361"
    assert np.array(pixels) == pytest.approx(
        np.array([
            (125.887, 26.755, 0.025), (158.605, 63.65, 0.065), (124.085, 16.755, -0.011),
            (71.922, 17.94, 0.012), (113.335, 20.221, -0.022), (87.167, 19.204, 0.0),
        ]),
        abs=2e-3,
    )  # fmt: skip


def test_recipes_of_plain_shapes_keep_their_ids():
    plain = Recipe(method="boxinst", data={"dataset": "shapes", "shapes": {"kind": "plain"}})
    assert plain.id == Recipe(method="boxinst", data={"dataset": "shapes"}).id
    assert plain.id != Recipe(method="boxinst", data={"dataset": "shapes", "shapes": {"kind": "hard"}}).id


def test_a_root_drawn_before_there_were_kinds_is_a_plain_one(tmp_path):
    spec = TINY.model_copy(update={"kind": "plain"})
    root = write_shapes(spec, 0, tmp_path / "a")
    stats = json.loads((root / "stats.json").read_text())
    del stats["spec"]["kind"]
    (root / "stats.json").write_text(json.dumps(stats))
    before = files(root)
    assert files(write_shapes(spec, 0, root)) == before
    with pytest.raises(Exception, match="was drawn with spec"):
        write_shapes(TINY, 0, root)


def test_same_seed_same_bytes_and_other_seed_other_training_images(tmp_path):
    first, again, other = (
        files(write_shapes(TINY, seed, tmp_path / name)) for seed, name in ((0, "a"), (0, "b"), (1, "c"))
    )
    assert first == again
    assert all((first[n] == other[n]) == ("val" in n) for n in first if n != "stats.json")


def test_masks_are_visible_pixels_of_enough_area(hard):
    area = []
    for scene in hard:
        assert 1 <= len(scene.masks) <= 6
        assert np.sum(scene.masks, axis=0).max() == 1, "a pixel belongs to one object at most"
        area += [mask.sum() for mask in scene.masks]
        for mask, part in zip(scene.masks, scene.seconds, strict=True):
            assert part is None or not (part & ~mask).any()
    assert min(area) >= 40
    reference = np.array(area) * (216 / 96) ** 2
    sizes = (reference < 32**2).mean(), (reference > 96**2).mean()
    assert min(sizes) > 0.02 and sum(sizes) < 0.5, sizes


def test_a_partner_is_near_and_inside_and_keeps_away_from_others():
    rng, found = np.random.default_rng(0), 0
    for _ in range(200):
        placed = [(rng.uniform(20, 76, 2), rng.uniform(11, 30)) for _ in range(2)]
        if partner := _beside(rng, 96, placed):
            place, radius = partner
            (other, its), (centre, own) = placed
            assert 0.4 <= np.hypot(*(place - centre)) / (own + radius) <= 0.62
            assert np.hypot(*(place - other)) >= 0.7 * (its + radius)
            assert 11 <= radius <= 42 and (np.abs(place - 48) <= 48 - 0.8 * radius + 1e-9).all()
            found += 1
    assert found > 80


def box_cells(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return {(r, c) for r in range(rows[0], rows[-1] + 1) for c in range(columns[0], columns[-1] + 1)}


def overlapping(objects):
    """[(label, mask)] of one image -> a bool each, boxes as sets of pixels."""
    cells = [(label, box_cells(mask)) for label, mask in objects]

    def overlap(i, j):
        (a, own), (b, other) = cells[i], cells[j]
        return i != j and a == b and len(own & other) > 0.1 * len(own | other)

    return [any(overlap(i, j) for j in range(len(cells))) for i in range(len(cells))]


def test_same_class_neighbours_overlap_far_more_often_than_in_plain(hard, plain):
    def share(scenes):
        return np.mean([o for s in scenes for o in overlapping(list(zip(s.labels, s.masks, strict=True)))])

    shares = share(hard), share(plain)
    assert shares[0] > 0.35 and shares[1] < 0.15, shares
    touching = 0  # masks of a class that meet: what only M_I can tell apart
    for scene in hard:
        for i, mask in enumerate(scene.masks):
            grown = mask.copy()
            grown[1:] |= mask[:-1]
            grown[:, 1:] |= mask[:, :-1]
            touching += any(
                (grown & scene.masks[j]).any() and scene.labels[i] == scene.labels[j]
                for j in range(len(scene.masks))
                if j != i
            )
    assert touching > 0.25 * sum(len(scene.masks) for scene in hard)


def border_jump(lab, mask):
    """Largest colour difference between the two strips of 2 pixels beside a straight line through a mask.

    48 directions, lines at every fifth per cent of the area between 20 and 80; colour of a strip: its mean.
    """
    inner = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    yx = np.argwhere(inner)
    if len(yx) < 60:
        return np.nan
    colours = lab[1:-1, 1:-1][inner]
    largest = 0.0
    for angle in np.arange(48) * np.pi / 48:
        along = yx @ (np.sin(angle), np.cos(angle))
        for cut in np.quantile(along, np.arange(0.2, 0.81, 0.05)):
            sides = [colours[(s * (along - cut) > 0) & (s * (along - cut) <= 2)] for s in (1, -1)]
            if min(map(len, sides)) >= 8:
                largest = max(largest, np.linalg.norm(sides[0].mean(0) - sides[1].mean(0)))
    return largest


def test_two_colours_are_seen_in_the_pictures(hard, plain):
    """Uncovered, unfaded objects: a sharp straight border where two parts were drawn, else none."""
    jumps, drawn = [], []
    for scene in hard[:120]:
        if scene.faded[-1] is None:
            jumps.append(border_jump(rgb_to_lab(scene.image), scene.masks[-1]))
            drawn.append(scene.seconds[-1] is not None)
    jumps, drawn = np.array(jumps), np.array(drawn)
    seen = np.isfinite(jumps)
    jumps, drawn = jumps[seen], drawn[seen]
    assert (jumps[drawn] > 20).mean() > 0.85 and (jumps[~drawn] > 20).mean() < 0.15
    of_plain = [border_jump(rgb_to_lab(scene.image), scene.masks[-1]) for scene in plain[:50]]
    assert np.nanmean(np.array(of_plain) > 20) < 0.15
    share = np.mean([part is not None for scene in hard for part in scene.seconds])
    assert 0.5 < share < 0.7


def test_first_and_second_hues_tell_the_class_and_half_of_the_second_parts_are_grey(hard):
    right = {"first": [], "second": []}
    grey = []
    for scene in hard:
        label, mask, part = scene.labels[-1], scene.masks[-1], scene.seconds[-1]
        if part is None or scene.faded[-1] is not None:
            continue
        for name, pixels, hues in (("first", mask & ~part, HUES), ("second", part, SECOND_HUES)):
            h, s, _ = colorsys.rgb_to_hsv(*(np.median(scene.image[pixels], axis=0) / 255))
            if name == "second":
                grey.append(s < 0.38)
            if s >= 0.38:
                turns = [abs((h - hue + 0.5) % 1 - 0.5) for hue in hues]
                right[name].append(int(np.argmin(turns)) == label)
    assert np.mean(right["first"]) > 0.75, "15 % have any hue, a third of those the right one"
    assert np.mean(right["second"]) > 0.9
    assert 0.3 < np.mean(grey) < 0.7
    every = sorted((*HUES, *SECOND_HUES))
    assert min(b - a for a, b in pairwise([*every, every[0] + 1])) > 0.12, "six hues, all apart"


def contrast(scene, index, pixel):
    """Colour difference across the border with the background (2 pixels), near a pixel and far from it."""
    lab, mask = rgb_to_lab(scene.image), scene.masks[index]
    outside = ~np.any(scene.masks, axis=0)
    radius = np.sqrt(mask.sum() / np.pi)
    near, far = [], []
    for dr, dc in ((0, 2), (2, 0), (0, -2), (-2, 0)):
        rows, columns = np.nonzero(mask)
        kept = (rows + dr >= 0) & (rows + dr < 96) & (columns + dc >= 0) & (columns + dc < 96)
        rows, columns = rows[kept], columns[kept]
        across = outside[rows + dr, columns + dc]
        rows, columns = rows[across], columns[across]
        jump = np.linalg.norm(lab[rows, columns] - lab[rows + dr, columns + dc], axis=1)
        distance = np.hypot(rows - pixel[0], columns - pixel[1])
        near += jump[distance < 0.35 * radius].tolist()
        far += jump[distance > 1.4 * radius].tolist()
    return (np.mean(near), np.mean(far)) if len(near) >= 3 and len(far) >= 3 else None


def test_a_low_contrast_side_is_seen_at_the_border(hard):
    """Contrast at the middle of a faded side is a small part of that far away; elsewhere they are alike."""
    faded, other = [], []
    rng = np.random.default_rng(0)
    for scene in hard:
        index = len(scene.masks) - 1  # never covered
        mask = scene.masks[index]
        edge = np.argwhere(mask & ~np.roll(mask, 1, 0))
        pixel = scene.faded[index]
        pair = contrast(scene, index, pixel or edge[rng.integers(len(edge))])
        if pair:
            (other if pixel is None else faded).append(pair[0] / pair[1])
    assert min(len(faded), len(other)) > 25
    assert np.median(faded) < 0.4 and np.quantile(faded, 0.8) < 0.7
    assert 0.7 < np.median(other) < 1.4
    share = np.mean([pixel is not None for scene in hard for pixel in scene.faded])
    assert 0.5 < share < 0.7
    for scene in hard:
        if scene.faded[-1] is not None:
            assert scene.masks[-1][scene.faded[-1]], "the middle of the side belongs to the object"


def test_stats_say_what_was_drawn_and_the_check_finds_nothing(root):
    stats = json.loads((root / "stats.json").read_text())
    assert stats["spec"]["kind"] == "hard"
    for split, base, stream, count in (("train", 1000, 0, 50), ("val", 77, 1, 10)):
        content = json.loads((root / "annotations" / f"instances_{split}.json").read_text())
        found = []
        for image in content["images"]:
            own = [a for a in content["annotations"] if a["image_id"] == image["id"]]
            found += overlapping(
                [(a["category_id"], rle.decode(a["segmentation"]).astype(bool)) for a in own]
            )
        told = stats["splits"][split]
        assert told["objects"] == len(found)
        assert told["overlapping"] == pytest.approx(100 * np.mean(found), abs=0.06)
        scenes = [
            draw_scene(np.random.default_rng([base, stream, i]), 96, 0.12, "hard") for i in range(count)
        ]
        seconds = [part is not None for scene in scenes for part in scene.seconds]
        faded = [pixel is not None for scene in scenes for pixel in scene.faded]
        assert told["two_coloured"] == pytest.approx(100 * np.mean(seconds), abs=0.06)
        assert told["faded"] == pytest.approx(100 * np.mean(faded), abs=0.06)
    assert not check_root(root).problems
