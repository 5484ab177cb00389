"""The salient images of `shapes`: near, far, or both in turns."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from wsis.checksums import LIST
from wsis.data.check.root import check_root
from wsis.data.salient import has_one_object
from wsis.data.shapes.plain import draw_scene
from wsis.data.shapes.salient import domain_of, draw_salient
from wsis.data.shapes.write import write_shapes
from wsis.declare.specs.data import ShapesSpec

COUNT = 60
SPEC = ShapesSpec(size=48, train_images=3, val_images=2, salient_images=5)


def draw(domain, size=96):
    return [draw_salient(np.random.default_rng([7, i]), size, domain) for i in range(COUNT)]


@pytest.fixture(scope="module")
def near():
    return draw("near")


@pytest.fixture(scope="module")
def far():
    return draw("far")


def saturation(pixels):
    """Mean HSV saturation of N x 3 uint8 colours."""
    top, bottom = pixels.max(1).astype(float), pixels.min(1).astype(float)
    return float(((top - bottom) / np.maximum(top, 1)).mean())


def texture(drawing):
    """Mean difference of neighbouring background pixels."""
    image, free = drawing.image.astype(float).mean(2), ~drawing.masks[0]
    return float(np.abs(np.diff(image, axis=1))[free[:, 1:] & free[:, :-1]].mean())


def extent(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1


def test_near_images_show_their_object_with_margins_of_up_to_a_quarter(near):
    """With and without: a network has to know masks that touch the border of a box and such that don't."""
    for drawing in near:
        (mask,) = drawing.masks
        y, x = np.nonzero(mask)
        sides = (np.ptp(x) + 1) / 96, (np.ptp(y) + 1) / 96
        assert min(sides) > 1 / 1.5 - 0.05, "margins of a quarter on both sides leave two thirds"
    filled = [min((np.ptp(c) + 1) / 96 for c in np.nonzero(d.masks[0])) for d in near]
    assert max(filled) > 0.9 > np.median(filled)


@pytest.mark.parametrize("domain", ["near", "far"])
@pytest.mark.parametrize("size", [48, 96])
def test_each_image_has_one_object_inside_it(domain, size):
    for drawing in draw(domain, size):
        assert drawing.image.shape == (size, size, 3) and drawing.image.dtype == np.uint8
        (mask,) = drawing.masks
        assert drawing.labels == [0] and has_one_object(mask.astype(np.float32))
        assert 0.02 < mask.mean() < 0.85


def test_far_backgrounds_are_saturated_and_textured(near, far):
    colours = {}
    for name, drawings in (("near", near), ("far", far)):
        colours[name] = np.array([saturation(d.image[~d.masks[0]]) for d in drawings])
    scenes = [draw_scene(np.random.default_rng([8, i]), 96, 0.0) for i in range(COUNT)]
    scene = np.array([saturation(s.image[~np.any(s.masks, axis=0)]) for s in scenes])
    assert abs(np.median(colours["near"]) - np.median(scene)) < 0.08, "near ones have the scenes' backgrounds"
    assert np.median(colours["far"]) > np.quantile(scene, 0.95) + 0.1
    assert np.median([texture(d) for d in far]) > 1.3 * np.median([texture(d) for d in near])


def test_far_objects_are_large_and_of_any_saturation(near, far):
    sides = np.array([extent(d.masks[0]) for d in far]) / 96
    assert sides.max() <= 1 and np.median(sides) > 0.6 > sides.min()
    inside = np.array([saturation(d.image[d.masks[0]]) for d in far])
    assert inside.min() < 0.25 and inside.max() > 0.8
    assert np.min([saturation(d.image[d.masks[0]]) for d in near]) > 0.25


def test_far_objects_differ_from_what_they_cover(far):
    for drawing in far:
        mask = drawing.masks[0]
        step = drawing.image[mask].mean(0) - drawing.image[~mask].mean(0)
        assert np.abs(step).max() > 8
    assert len({d.image.tobytes() for d in far}) == COUNT


def test_mixed_sets_take_turns():
    assert [domain_of("mixed", i) for i in range(5)] == ["near", "far", "near", "far", "near"]
    assert {domain_of(domain, i) for domain in ("near", "far") for i in range(3)} == {"near", "far"}


def test_the_three_sets_differ_in_their_salient_images_alone(tmp_path):
    roots = {
        domain: write_shapes(SPEC.model_copy(update={"salient": domain}), 0, tmp_path / domain)
        for domain in ("near", "mixed", "far")
    }
    files = {
        domain: {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file() and path.name not in ("stats.json", LIST)
        }
        for domain, root in roots.items()
    }
    for name, content in files["near"].items():
        inside = name.startswith("salient/") and name.endswith(".png")
        odd = inside and int(name[-10:-4]) % 2 == 1  # the first, third, fifth
        if not inside:
            assert content == files["mixed"][name] == files["far"][name]
        elif "images" in name:
            assert content != files["far"][name]
            assert files["mixed"][name] == (content if odd else files["far"][name])
    counts = {
        domain: json.loads((root / "stats.json").read_text())["salient"] for domain, root in roots.items()
    }
    for domain, expected in (("near", (5, 0)), ("mixed", (3, 2)), ("far", (0, 5))):
        found = counts[domain]
        assert (found["images"], found["near"], found["far"]) == (5, *expected)
        masks = sorted((roots[domain] / "salient" / "masks").iterdir())
        covered = np.mean([(np.asarray(Image.open(mask)) > 0).mean() for mask in masks])
        assert found["covered"] == pytest.approx(100 * covered, abs=0.06)
        report = check_root(roots[domain])
        assert report.ok and report.counts["salient images with one object"] == 5


def test_without_salient_images_the_counts_say_nothing(tmp_path):
    root = write_shapes(SPEC.model_copy(update={"salient_images": 0}), 0, tmp_path / "a")
    assert "salient" not in json.loads((root / "stats.json").read_text())
