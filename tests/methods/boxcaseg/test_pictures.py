"""BoxCaseg's pictures show what the pipeline does: its bags, its masks, what a Mask R-CNN gets."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pycocotools import mask as rle

from tests.methods.boxcaseg.scenes import TREE
from wsis.data.roots import open_root
from wsis.data.salient import open_salient
from wsis.data.shapes.write import write_shapes
from wsis.data.structures import PatchBatch
from wsis.declare.load import merged
from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import ShapesSpec
from wsis.declare.specs.parents import ProxySpec
from wsis.methods import build_method
from wsis.methods.boxcaseg.box_masks import predict_boxes
from wsis.methods.boxcaseg.crops import normalise_patch
from wsis.methods.boxcaseg.pictures import _colours, draw, head_rows, patch_tile, patch_tiles
from wsis.methods.boxcaseg.proxy_pictures import Masks, image_masks, kept_masks, masks_sheet, proxy_masks
from wsis.methods.fill import object_samples
from wsis.pictures.canvas import BACKGROUND, ORIGINAL, PASTED, WHITE, faded, object_colour, three_labels
from wsis.pictures.choice import choose, contested
from wsis.pictures.subject import Subject, pictures_with_masks
from wsis.proxy.annotations import proxy_masks as trained_masks

RULES = ProxySpec(parent="p", drop=0.6, agreement="exact")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    spec = ShapesSpec(size=64, train_images=12, val_images=6, salient_images=8)
    return write_shapes(spec, 3, tmp_path_factory.mktemp("root") / "shapes")


def subject(shapes: Path, **boxcaseg) -> Subject:
    """A network that has seen nothing, and what its pictures are drawn from."""
    overrides = {
        "data": {"train": "train", "eval": "val"},
        "schedule": {"batch": 4},
        "boxcaseg": {"patch": 32, "side": 32, "salient_images": 8, **boxcaseg},
    }
    recipe = Recipe.model_validate(merged(merged({}, TREE), overrides), strict=False).settled()
    torch.manual_seed(0)
    root, salient = open_root(recipe, shapes), open_salient(shapes / "salient")
    network = build_method(recipe, 3).eval()
    return Subject(recipe, root, salient, pictures_with_masks(recipe, root), {Path("run"): network})


@pytest.fixture(scope="module")
def scene(shapes):
    shown = subject(shapes)
    (net,) = shown.networks.values()
    return SimpleNamespace(net=net, subject=shown, root=shown.root, spec=shown.recipe.boxcaseg)


@pytest.mark.parametrize("rule", ["two", "imagenet"])
def test_patches_are_shown_in_the_colours_that_were_normalised(rule):
    pixels = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    pixels[:, 0, 0, 0] = 255  # salient patches are divided by their largest
    salient = torch.tensor([False, True, True, False])
    images = torch.stack(
        [normalise_patch(p, kind, rule) for p, kind in zip(pixels, salient.tolist(), strict=True)]
    )
    shown = _colours(PatchBatch(images, torch.zeros(4, 8, 8), salient, []), rule)
    assert np.array_equal(shown, pixels.permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("side", [32, 48, 256])
@pytest.mark.parametrize(("salient", "bags"), [(False, "mask"), (True, "mask"), (True, "box")])
def test_marks_beside_a_patch_are_the_positive_bags_of_eq_1(side, salient, bags):
    label = np.zeros((side, side), bool)
    label[side // 4 : side // 2, : side // 4] = True
    if salient:
        label[-2, 4] = True  # apart from the rest
    image = np.full((side, side, 3), 90, np.uint8)
    tile = patch_tile(image, label, salient, bags)
    before = len(tile.pixels) - side
    assert 0 < before < side / 8
    for marks, lines in ((tile.pixels[before:, 0], label), (tile.pixels[0, before:], label.T)):
        hit = np.flatnonzero(lines.any(1))
        positive = range(hit[0], hit[-1] + 1) if bags == "box" else hit
        assert np.flatnonzero((marks == PASTED).all(-1)).tolist() == list(positive)
        assert ((marks == PASTED).all(-1) | (marks == BACKGROUND).all(-1)).all()
    patch = tile.pixels[before:, before:]
    if salient:
        outline = (patch == ORIGINAL).all(-1)
        assert outline[-2, 4] and outline[side // 4, 0] and not (outline & ~label).any()
    else:
        (mark,) = tile.marks
        expected = (before, before + side // 4, before + side // 4, before + side // 2)
        assert tuple(mark.box) == expected and np.array_equal(patch, image)


def test_patches_of_both_kinds_are_shown(scene):
    boxes, salient = patch_tiles(scene.subject)
    assert 0 < len(boxes) <= 12 and 0 < len(salient) <= 12
    assert any(tile.marks for tile in boxes) and not any(tile.marks for tile in salient)


def test_the_shown_mask_is_the_predicted_one(scene):
    rows = iter(head_rows(scene.net, scene.subject.pictures, scene.root.category_names))
    for picture, shown in choose(scene.subject.pictures, 5):
        (sample,) = object_samples([picture])
        predicted = predict_boxes(scene.net, [sample], scene.spec)[0]
        for index in shown:
            row = next(rows)
            _, *maps, mask, truth = row.tiles
            assert row.name == scene.root.category_names[picture.instances[index].label]
            expected = rle.decode(predicted[index].rle).astype(bool)
            assert np.array_equal(mask.pixels, three_labels(expected)) and len(maps) == 4
            real = (truth.pixels == three_labels(np.ones((1, 1)))[0, 0]).all(-1)
            iou = (expected & real).sum() / (expected | real).sum()
            assert mask.marks[-1].text == f"IoU {iou:.2f}"


@pytest.mark.parametrize("heads", [["weak"], ["weak", "salient"], ["salient"]])
def test_only_heads_that_exist_are_shown(shapes, heads):
    patches, maps = draw(subject(shapes, heads=heads, alpha=1.0))
    assert [title for title, _ in maps.headings] == ["image", *heads, "mask", "ground truth"]
    assert all(len(row.tiles) == len(maps.headings) for row in maps.rows) and maps.rows and patches.rows
    assert f"of {' and '.join(heads)}." in maps.caption


def test_merged_masks_share_no_pixel_and_kept_ones_agree_enough(scene):
    images = [image_masks(scene.net, p, RULES, "image") for p in contested(scene.subject.pictures)]
    assert any((image.raw.sum(0) > 1).any() for image in images), "the images' objects overlap"
    for image in images:
        assert (image.merged.sum(0) <= 1).all() and not (image.merged & ~image.raw).any()
        assert np.array_equal(image.merged.any(0), image.raw.any(0))
        assert np.array_equal(image.kept, image.agreement > 0.6)


def raw_images(scene) -> list[dict]:
    """Raw proxy masks of the training images, as their file has them."""
    images = []
    for picture, sample in zip(scene.root.train, object_samples(scene.root.train), strict=True):
        masks = predict_boxes(scene.net, [sample], scene.spec)[0]
        objects = [
            {
                "annotation_id": instance.id,
                "category_id": 1 + instance.label,
                "bbox": [*instance.box[:2], *np.subtract(instance.box[2:], instance.box[:2])],
                "rle": {**mask.rle, "counts": mask.rle["counts"].decode()},
            }
            for instance, mask in zip(picture.instances, masks, strict=True)
        ]
        head = {"image_id": picture.id, "file_name": "x", "height": picture.height, "width": picture.width}
        images.append({**head, "objects": objects})
    return images


def test_proxy_masks_are_shown_as_the_mask_rcnn_gets_them(scene):
    scene.subject.masks = raw_images(scene)
    kept, _ = trained_masks(scene.subject.masks, RULES)
    pictures = {f"image {picture.id}": picture for picture in scene.root.train}
    images = proxy_masks(scene.subject, RULES)
    assert 0 < len(images) <= 12 and len({image.name for image in images}) == len(images)
    for image in images:
        instances = pictures[image.name].instances
        assert len(instances) == len(image.kept) and 2 <= len(instances) <= 6
        for instance, mask, flag in zip(instances, image.merged, image.kept, strict=True):
            assert flag == (instance.id in kept)
            expected = rle.decode(kept[instance.id]).astype(bool) if flag else np.zeros_like(mask)
            assert np.array_equal(mask, expected)
    assert any(image.kept.any() for image in images) and not all(image.kept.all() for image in images)


def test_a_dropped_mask_leaves_a_dashed_box_and_no_colour():
    """Two objects whose raw masks share a square; the first one's mask is dropped."""
    raw = np.zeros((2, 96, 96), bool)
    raw[0, 24:72, :48] = raw[1, 48:, 24:72] = True
    merged_ = raw & ~np.stack([raw[1], np.zeros_like(raw[1])])
    boxes = np.array([[0, 24, 48, 72], [24, 48, 72, 96]], float)
    kept = np.array([False, True])
    grey = np.full((96, 96, 3), 60, np.uint8)
    image = Masks("image 1", grey, boxes, merged_, np.array([0.75, 1]), kept, raw, raw, np.array([0.5, 1]))
    tile = kept_masks(image)
    assert [(m.dashed, m.text) for m in tile.marks] == [(True, "0.75"), (False, "1.00")]
    assert [m.colour for m in tile.marks] == [WHITE, object_colour(1)]
    assert np.array_equal((tile.pixels != faded(grey)).any(-1), merged_[1])
    (row,) = masks_sheet(RULES, [image]).rows
    assert (row.tiles[1].pixels[raw.all(0)] > 200).all() and (row.tiles[2].pixels < 200).any(-1).all()
    assert [mark.text for mark in row.tiles[4].marks] == ["0.50", "1.00"]
