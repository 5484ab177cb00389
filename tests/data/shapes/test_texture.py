"""Shapes of the kind `texture`: objects of a class in contact, strong edges inside, a split to choose on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from wsis.data.check.root import check_root
from wsis.data.colour import rgb_to_lab
from wsis.data.shapes.plain import Drawing
from wsis.data.shapes.texture import draw_texture, texture_edges, touching_pairs
from wsis.data.shapes.write import write_shapes
from wsis.declare.specs.data import ShapesSpec

SPEC = ShapesSpec(kind="texture", train_images=20, val_images=10)
TINY = ShapesSpec(kind="texture", size=48, train_images=4, val_images=45)
OFFSETS = ((0, 1), (1, 0), (0, -1), (-1, 0))


@pytest.fixture(scope="module")
def scenes():
    return [draw_texture(np.random.default_rng([5, i]), 96, 0.12) for i in range(120)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_shapes(SPEC, 0, tmp_path_factory.mktemp("data") / "texture")


def files(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def ids(masks):
    """s x s int: 0 no object, 1.. objects."""
    found = np.zeros(masks[0].shape, int)
    for i, mask in enumerate(masks):
        found[mask] = i + 1
    return found


def contacts(masks, labels):
    """Pairs of one class with 4-neighbours in each other: every pixel looked at one by one."""
    of, found = ids(masks), set()
    for r, c in np.argwhere(of > 0):
        for dr, dc in OFFSETS[:2]:
            if r + dr < len(of) and c + dc < len(of):
                a, b = of[r, c], of[r + dr, c + dc]
                if b and a != b and labels[a - 1] == labels[b - 1]:
                    found.add((min(a, b) - 1, max(a, b) - 1))
    return found


def edges_of(drawing):
    """Texture edges as they are defined, pixel by pixel: another tone beside it, no outline within two."""
    of, size = ids(drawing.masks), len(drawing.image)
    tone = np.zeros((size, size), int)
    for part in drawing.seconds:
        if part is not None:
            tone[part] = 1
    found = np.zeros((size, size), bool)
    for r, c in np.argwhere(of > 0):
        window = of[max(r - 2, 0) : r + 3, max(c - 2, 0) : c + 3]
        beside = [(r + dr, c + dc) for dr, dc in OFFSETS if 0 <= r + dr < size and 0 <= c + dc < size]
        found[r, c] = (window == of[r, c]).all() and any(tone[p] != tone[r, c] for p in beside)
    return found


def test_masks_are_visible_pixels_of_enough_area_in_one_piece(scenes):
    label = pytest.importorskip("scipy.ndimage").label
    for scene in scenes:
        assert 1 <= len(scene.masks) <= 5 and scene.image.dtype == np.uint8
        assert np.sum(scene.masks, axis=0).max() == 1, "a pixel belongs to one object at most"
        for mask, part in zip(scene.masks, scene.seconds, strict=True):
            assert mask.sum() >= 40 and label(mask)[1] == 1
            assert part is None or (part.any() and not (part & ~mask).any() and (mask & ~part).any())
    labels = np.concatenate([scene.labels for scene in scenes])
    assert np.bincount(labels, minlength=3).min() > 0.2 * len(labels)


def test_about_half_of_the_images_hold_objects_of_a_class_in_contact(scenes):
    number = []
    for scene in scenes:
        found = contacts(scene.masks, scene.labels)
        assert set(touching_pairs(scene.masks, scene.labels)) == found
        number.append(len(found))
    number = np.array(number)
    assert 0.35 < (number > 0).mean() < 0.65 and number.sum() > 1.1 * (number > 0).sum()


def test_objects_of_a_class_touch_for_a_length_or_keep_apart(scenes):
    lengths = []
    for scene in scenes:
        clusters = set(np.ravel(touching_pairs(scene.masks, scene.labels)).tolist())
        for j, later in enumerate(scene.masks):
            for i, earlier in enumerate(scene.masks[:j]):
                if scene.labels[i] != scene.labels[j]:
                    continue
                if (i, j) in touching_pairs(scene.masks, scene.labels):
                    beside = np.zeros_like(later)
                    for offset in OFFSETS:
                        beside |= np.roll(earlier, offset, (0, 1))
                    lengths.append((beside & later).sum())
                elif not {i, j} <= clusters:
                    rows, columns = np.nonzero(later)
                    other = np.argwhere(earlier)
                    near = np.abs(other[:, None] - np.stack([rows, columns], 1)[None]).max(-1)
                    assert near.min() > 2
    assert np.median(lengths) >= 10


def test_touching_objects_of_other_classes_teach_contours(scenes):
    other = [
        any(len(contacts([a, b], [0, 0])) for i, a in enumerate(s.masks) for j, b in enumerate(s.masks[:i])
            if s.labels[i] != s.labels[j])
        for s in scenes
    ]  # fmt: skip
    assert np.mean(other) > 0.3


def test_texture_edges_lie_inside_one_object_away_from_its_outline(scenes):
    for scene in scenes[:25]:
        assert (texture_edges(scene) == edges_of(scene)).all()
    share = np.mean([part is not None for scene in scenes for part in scene.seconds])
    assert share > 0.7, "most objects have edges inside"


def test_a_tone_change_at_an_outline_or_between_objects_is_no_texture_edge():
    mask, other = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    mask[2:18, :10], other[2:18, 10:] = True, True
    part = np.zeros_like(mask)
    part[2:10, :10] = True  # one horizontal change at row 10; the neighbour has one tone
    found = texture_edges(Drawing(np.zeros((20, 20, 3), np.uint8), [mask, other], [0, 0], [part, None]))
    expected = np.zeros_like(mask)
    expected[9:11, :8] = True  # up to the image's border, not to the other object
    assert (found == expected).all()
    part[:], part[2:4, :10] = False, True
    close = texture_edges(Drawing(np.zeros((20, 20, 3), np.uint8), [mask, other], [0, 0], [part, None]))
    assert not close[:4].any() and close[4, :8].all(), "row 3 is within two pixels of the outline"


def jumps(scene):
    """Colour differences of pixels three apart: across contacts, across tone changes, within a tone."""
    lab, of = rgb_to_lab(scene.image), ids(scene.masks)
    tone = np.any([part for part in scene.seconds if part is not None] or [np.zeros_like(of, bool)], axis=0)
    label = np.array([-1, *scene.labels])[of]
    found = {"contact": [], "texture": [], "interior": []}
    for axis in (0, 1):
        a, b = ((slice(None),) * axis + (s,) for s in (slice(None, -3), slice(3, None)))
        jump = np.linalg.norm(lab[a] - lab[b], axis=-1)
        between = [(slice(None),) * axis + (slice(k, k - 3),) for k in (1, 2)]
        alike = (of[a] > 0) & (of[a] == of[b])
        even = np.all([(of[s] == of[a]) & (tone[s] == tone[a]) for s in between], axis=0)
        found["contact"].append(jump[(of[a] != of[b]) & (label[a] == label[b]) & (of[a] > 0)])
        found["texture"].append(jump[alike & (tone[a] != tone[b])])
        found["interior"].append(jump[alike & even & (tone[a] == tone[b])])
    return {name: np.concatenate(values) for name, values in found.items()}


def test_colour_steps_are_larger_inside_objects_than_between_those_of_a_class(scenes):
    found = [jumps(scene) for scene in scenes]
    contact, texture, interior = (
        np.concatenate([f[name] for f in found]) for name in ("contact", "texture", "interior")
    )
    assert min(map(len, (contact, texture, interior))) > 1000
    greater = lambda a, b: np.searchsorted(np.sort(b), a).mean() / len(b)  # noqa: E731 AUC
    assert greater(contact, texture) < 0.5, "a gradient ranks texture above contacts"
    assert greater(contact, interior) > 0.9 and np.median(contact) > 10, "contacts are seen all the same"


def test_hues_tell_the_class(scenes):
    """Red, green and blue objects: the largest channel of an object's mean, nearly always."""
    right = [
        scene.image[mask].mean(0).argmax() == label
        for scene in scenes
        for mask, label in zip(scene.masks, scene.labels, strict=True)
    ]
    assert np.mean(right) > 0.95


def test_same_seed_same_bytes_and_other_seed_other_training_images_alone(tmp_path):
    first, again, other = (
        files(write_shapes(TINY, seed, tmp_path / name)) for seed, name in ((0, "a"), (0, "b"), (1, "c"))
    )
    assert first == again
    for name in first:
        if name.startswith("train/"):
            assert first[name] != other[name]
        elif "val" in name or "dev" in name:
            assert first[name] == other[name]


def test_a_smaller_set_is_the_start_of_a_larger_one(tmp_path):
    small = files(write_shapes(TINY, 0, tmp_path / "a"))
    more = TINY.model_copy(update={"train_images": 6, "val_images": 47})
    large = files(write_shapes(more, 0, tmp_path / "b"))
    assert all(large[name] == content for name, content in small.items() if name.endswith(".png"))
    assert len(large) == len(small) + 4 * 3, "image, semantic map and texture of two more of each split"


def test_dev_shares_no_image_with_the_other_splits(tmp_path):
    spec = TINY.model_copy(update={"val_seed": 1000})  # so that train's base seed is the same, too
    root = write_shapes(spec, 0, tmp_path / "a")
    names = {split: sorted((root / split).iterdir()) for split in ("train", "val", "dev")}
    assert [len(paths) for paths in names.values()] == [4, 45, 40]
    seen = [path.read_bytes() for paths in names.values() for path in paths]
    assert len(set(seen)) == 4 + 45 + 40
    other = write_shapes(spec.model_copy(update={"val_seed": 78}), 0, tmp_path / "b")
    assert (root / "dev" / "000001.png").read_bytes() != (other / "dev" / "000001.png").read_bytes()


def test_every_split_has_annotations_semantics_and_textures_that_agree(root):
    report = check_root(root)
    assert report.ok, report
    stats = json.loads((root / "stats.json").read_text())
    for split, count in (("train", 20), ("val", 10), ("dev", 40)):
        content = json.loads((root / "annotations" / f"instances_{split}.json").read_text())
        assert len(content["images"]) == count == stats["splits"][split]["images"]
        objects, edges, pairs = 0, 0, []
        for record in content["images"]:
            own = [a for a in content["annotations"] if a["image_id"] == record["id"]]
            masks = [rle.decode(a["segmentation"]).astype(bool) for a in own]
            semantic = sum(m.astype(int) * a["category_id"] for m, a in zip(masks, own, strict=True))
            stored = np.asarray(Image.open(root / "semantic" / split / record["file_name"]))
            assert (stored == semantic).all()
            texture = np.asarray(Image.open(root / "texture" / split / record["file_name"]))
            assert texture.dtype == np.uint8 and set(np.unique(texture)) <= {0, 255}
            assert not (texture[semantic == 0]).any()
            objects, edges = objects + (semantic > 0).sum(), edges + (texture > 0).sum()
            pairs.append(len(contacts(masks, [a["category_id"] for a in own])))
        found = stats["splits"][split]
        assert found["texture_edges"] == pytest.approx(100 * edges / objects, abs=0.06)
        assert found["touching_pairs"] == sum(pairs)
        assert found["touching"] == pytest.approx(100 * np.mean(np.array(pairs) > 0), abs=0.06)


@pytest.mark.parametrize("kind", ["plain", "hard"])
def test_roots_of_other_kinds_have_nothing_of_it(kind, tmp_path):
    root = write_shapes(TINY.model_copy(update={"kind": kind, "val_images": 2}), 0, tmp_path / kind)
    names = {"annotations", "checksums.sha256", "semantic", "stats.json", "train", "val"}
    assert {path.name for path in root.iterdir()} == names
    keys = set(json.loads((root / "stats.json").read_text())["splits"]["val"])
    assert not keys & {"touching", "touching_pairs", "texture_edges"}
