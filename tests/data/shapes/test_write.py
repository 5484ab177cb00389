"""The synthetic data set: determinism, exact masks, sizes, classes, separability."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from wsis.data.colour import hsv_to_rgb, rgb_to_lab
from wsis.data.shapes.plain import draw_scene
from wsis.data.shapes.separability import separability
from wsis.data.shapes.write import write_shapes
from wsis.declare.specs.data import ShapesSpec
from wsis.errors import WsisError

TINY = ShapesSpec(size=48, train_images=6, val_images=3)


def files(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def annotations(root, split="train"):
    content = json.loads((root / "annotations" / f"instances_{split}.json").read_text())
    return content, [(a, rle.decode(a["segmentation"]).astype(bool)) for a in content["annotations"]]


def test_same_seed_same_bytes_and_other_seed_other_training_images(tmp_path):
    first, again, other = (
        write_shapes(TINY, seed, tmp_path / name) for seed, name in ((0, "a"), (0, "b"), (1, "c"))
    )
    assert files(first) == files(again)
    a, c = files(first), files(other)
    assert all(a[name] != c[name] for name in a if name.startswith("train/"))
    assert all(a[name] == c[name] for name in a if "val" in name), "one validation set for every seed"


def test_validation_seed_changes_validation_only(tmp_path):
    first = files(write_shapes(TINY, 0, tmp_path / "a"))
    other = files(write_shapes(TINY.model_copy(update={"val_seed": 78}), 0, tmp_path / "b"))
    assert all(
        (first[n] == other[n]) == n.startswith("train/")
        for n in first
        if n.endswith(".png") and "semantic" not in n
    )


def test_splits_differ_even_with_equal_seeds(tmp_path):
    root = write_shapes(TINY.model_copy(update={"val_seed": 1000}), 0, tmp_path / "a")
    assert (root / "train" / "000001.png").read_bytes() != (root / "val" / "000001.png").read_bytes()


def test_a_smaller_set_is_the_start_of_a_larger_one(tmp_path):
    small = write_shapes(TINY, 0, tmp_path / "a")
    large = write_shapes(TINY.model_copy(update={"train_images": 9}), 0, tmp_path / "b")
    for i in range(1, 7):
        assert (small / "train" / f"{i:06d}.png").read_bytes() == (
            large / "train" / f"{i:06d}.png"
        ).read_bytes()


def test_masks_are_exclusive_boxes_tight_and_semantics_agree(shapes):
    for split in ("train", "val"):
        content, pairs = annotations(shapes, split)
        covered = {image["id"]: np.zeros((96, 96), int) for image in content["images"]}
        semantic = {image["id"]: np.zeros((96, 96), int) for image in content["images"]}
        for a, mask in pairs:
            assert mask.shape == (96, 96) and mask.sum() >= 40
            covered[a["image_id"]] += mask
            semantic[a["image_id"]][mask] = a["category_id"]
            ys, xs = np.nonzero(mask)
            assert a["bbox"] == [xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1]
            assert a["area"] == pytest.approx(mask.sum() * content["info"]["area_scale"], abs=1e-3)
            assert a["iscrowd"] == 0 and a["id"] >= 1
        for image in content["images"]:
            assert covered[image["id"]].max() == 1, (
                "visible masks never overlap, and every image has an object"
            )
            stored = np.asarray(Image.open(shapes / "semantic" / split / image["file_name"]))
            assert stored.dtype == np.uint8 and (stored == semantic[image["id"]]).all()


def test_colours_jump_where_the_mask_ends():
    """Pixels three apart differ far more across the mask's edge than inside it."""
    across, inside = [], []
    for i in range(30):
        scene = draw_scene(np.random.default_rng([3, i]), 96, 0.0)
        lab, mask = rgb_to_lab(scene.image), scene.masks[-1]
        jump = np.linalg.norm(lab[3:] - lab[:-3], axis=-1)
        across.append(jump[mask[3:] != mask[:-3]].mean())
        inside.append(jump[mask[3:] & mask[:-3]].mean())
    assert np.median(across) > 2 * np.median(inside)


def test_low_contrast_objects_are_close_to_their_background():
    """The share asked for decides: nearly all of the objects, or next to none."""

    def distances(share):
        found = []
        for i in range(40):
            scene = draw_scene(np.random.default_rng([9, i]), 96, share)
            lab, everything = rgb_to_lab(scene.image), np.any(scene.masks, axis=0)
            found += [np.linalg.norm(lab[m].mean(0) - lab[~everything].mean(0)) for m in scene.masks]
        return np.array(found)

    assert (distances(1.0) < 18).mean() > 0.75 and (distances(0.0) < 18).mean() < 0.1


def test_all_sizes_classes_and_counts_are_present():
    """Over many drawings: 5 % and more of every size, balanced classes, boxes about half filled."""
    area, fill, labels, counts = [], [], [], []
    for i in range(250):
        scene = draw_scene(np.random.default_rng([1000, 0, i]), 96, 0.12)
        counts.append(len(scene.masks))
        labels += scene.labels
        for mask in scene.masks:
            box = np.ptp(np.nonzero(mask)[0]) + 1, np.ptp(np.nonzero(mask)[1]) + 1
            fill.append(mask.sum() / (box[0] * box[1]))
            area.append(mask.sum() * (216 / 96) ** 2)
    area = np.array(area)
    shares = (area < 32**2).mean(), ((area >= 32**2) & (area <= 96**2)).mean(), (area > 96**2).mean()
    assert min(shares) > 0.05, shares
    assert set(counts) == {1, 2, 3} and 1.8 < np.mean(counts) < 2.3
    assert all(0.27 < n / len(labels) < 0.4 for n in Counter(labels).values()) and len(set(labels)) == 3
    assert 0.4 < np.mean(fill) < 0.55


def test_stats_say_what_the_annotations_hold(shapes):
    stats = json.loads((shapes / "stats.json").read_text())
    _, pairs = annotations(shapes, "train")
    split = stats["splits"]["train"]
    assert (split["images"], split["objects"]) == (60, len(pairs))
    small = 100 * np.mean([a["area"] < 32**2 for a, _ in pairs])
    assert split["small"] == pytest.approx(small, abs=0.06)
    assert split["small"] + split["medium"] + split["large"] == pytest.approx(100, abs=0.2)
    tau0, tau1 = stats["separability"]["prop"][:2]
    assert 65 < tau0 < 90 and tau1 > 98, "colours separate the objects; without a threshold they do not"


def test_separability_against_a_slow_count(shapes):
    """One image, every directed pair of pixels looked at one by one."""
    content, pairs = annotations(shapes, "val")
    image = np.asarray(Image.open(shapes / "val" / content["images"][0]["file_name"]), float)
    small = (image[0::2, 0::2] + image[1::2, 0::2] + image[0::2, 1::2] + image[1::2, 1::2]) / 4
    lab = rgb_to_lab(small)
    edges, positive = [0, 0], [0, 0]
    for a, mask in pairs:
        if a["image_id"] != content["images"][0]["id"]:
            continue
        m = (mask[0::2, 0::2].astype(int) + mask[1::2, 0::2] + mask[0::2, 1::2] + mask[1::2, 1::2]) >= 2
        x, y, w, h = (v / 2 for v in a["bbox"])

        def within(r, c, x=x, y=y, w=w, h=h):
            return y <= r + 0.5 < y + h and x <= c + 0.5 < x + w

        for r in range(48):
            for c in range(48):
                for dr, dc in ((0, 2), (2, 0), (2, 2), (2, -2)):
                    r2, c2 = r + dr, c + dc
                    if not (r2 < 48 and 0 <= c2 < 48) or not (within(r, c) or within(r2, c2)):
                        continue
                    s = np.exp(-np.sqrt(((lab[r, c] - lab[r2, c2]) ** 2).sum()) / 2)
                    for i, tau in enumerate((0.0, 0.2)):
                        edges[i] += s >= tau
                        positive[i] += s >= tau and m[r, c] == m[r2, c2]
    found = separability(shapes, "val", limit=1)
    assert found["prop"][0] == pytest.approx(100 * positive[0] / edges[0], abs=0.01)
    assert found["prop"][2] == pytest.approx(100 * positive[1] / edges[1], abs=0.01)
    assert found["kept"][2] == pytest.approx(100 * positive[1] / positive[0], abs=0.01)


def test_lab_agrees_with_a_second_library():
    color = pytest.importorskip("skimage.color")
    rgb = np.random.default_rng(0).integers(0, 256, (200, 3))
    assert np.abs(rgb_to_lab(rgb) - color.rgb2lab(rgb[None] / 255.0)[0]).max() < 1e-3
    hsv = np.random.default_rng(1).random((200, 3))
    assert np.abs(hsv_to_rgb(hsv) / 255 - color.hsv2rgb(hsv[None])[0]).max() < 1e-6


def test_salient_images_hold_one_object(shapes):
    names = (shapes / "salient" / "train.txt").read_text().split()
    assert len(names) == 4
    for name in names:
        mask = np.asarray(Image.open(shapes / "salient" / "masks" / f"{name}.png"))
        assert set(np.unique(mask)) == {0, 255} and 0.05 < (mask > 0).mean() < 0.7
        assert Image.open(shapes / "salient" / "images" / f"{name}.png").size == (96, 96)


def test_an_existing_root_is_left_alone_and_another_refused(tmp_path):
    root = write_shapes(TINY, 0, tmp_path / "a")
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    write_shapes(TINY, 0, root)
    assert before == {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    assert list(tmp_path.iterdir()) == [root], "no temporary folder stays behind"
    with pytest.raises(WsisError, match="seed"):
        write_shapes(TINY, 1, root)
    (root / "stats.json").unlink()
    with pytest.raises(WsisError, match="not a complete"):
        write_shapes(TINY, 0, root)


def test_two_writers_at_once_leave_one_root(tmp_path):
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda _: write_shapes(TINY, 0, tmp_path / "a"), range(3)))
    assert set(made) == set(tmp_path.iterdir()) == {tmp_path / "a"}


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("wsis.data.shapes.write.separability", lambda root: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_shapes(TINY, 0, tmp_path / "a")
    assert not list(tmp_path.iterdir())
