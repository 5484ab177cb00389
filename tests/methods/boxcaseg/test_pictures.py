"""BoxCaseg's pictures show what the pipeline does: its bags, its masks, what a Mask R-CNN gets."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle

from tests.methods.boxcaseg.scenes import TREE
from wsis.data.places import run_root
from wsis.data.roots import Instance, Picture, open_root
from wsis.data.salient import open_salient
from wsis.data.shapes.write import write_shapes
from wsis.data.structures import PatchBatch
from wsis.declare.load import merged
from wsis.declare.recipe import Recipe, ShapesSpec
from wsis.engine.checkpoint import digest, save_model
from wsis.engine.launch import make_fabric
from wsis.errors import WsisError
from wsis.files import write_json
from wsis.jobs import make_data
from wsis.methods import build_method
from wsis.methods.boxcaseg.box_masks import predict_boxes
from wsis.methods.boxcaseg.crops import normalise_patch
from wsis.methods.boxcaseg.patches import object_samples
from wsis.methods.boxcaseg.pictures import _colours, draw_stage1, head_rows, patch_tiles
from wsis.methods.boxcaseg.proxy_pictures import mask_row, proxy_rows
from wsis.pictures.choice import choose, contested
from wsis.pictures.job import picture_runs, pictures_with_masks
from wsis.plan import make_plan, shapes_root
from wsis.proxy.annotations import ProxyRules, proxy_masks
from wsis.proxy.run import load_proxies, make_proxies


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    spec = ShapesSpec(size=64, train_images=12, val_images=6, salient_images=8)
    return write_shapes(spec, 3, tmp_path_factory.mktemp("root") / "shapes")


def untrained(shapes, **boxcaseg):
    """A network that has seen nothing, its recipe and its roots."""
    own = {
        "data": {"train": "train", "eval": "val"},
        "schedule": {"batch": 4},
        "boxcaseg": {"patch": 32, "side": 32, "salient_images": 8, **boxcaseg},
    }
    recipe = Recipe.model_validate(merged(merged({}, TREE), own), strict=False).settled()
    torch.manual_seed(0)
    root, salient = open_root(recipe, shapes), open_salient(shapes / "salient")
    return SimpleNamespace(
        net=build_method(recipe, 3).eval(),
        recipe=recipe,
        root=root,
        salient=salient,
        pictures=pictures_with_masks(recipe, root),
    )


@pytest.fixture(scope="module")
def scene(shapes):
    return untrained(shapes)


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


@pytest.mark.parametrize("bags", ["mask", "box"])
def test_marked_lines_are_the_positive_bags_of_eq_1(shapes, bags):
    own = untrained(shapes, salient_bags=bags)
    tiles = patch_tiles(own.recipe, own.root, own.salient)
    assert {tile.salient for tile in tiles} == {False, True}
    for tile in tiles:
        for flags, lines in ((tile.rows, tile.label), (tile.columns, tile.label.T)):
            hit = [index for index, line in enumerate(lines) if any(line)]
            whole = tile.salient and bags == "box"
            positive = range(min(hit), max(hit) + 1) if whole and hit else hit
            assert np.flatnonzero(flags).tolist() == list(positive)
    assert any(tile.label.any() for tile in tiles if tile.salient)


def test_the_shown_mask_is_the_predicted_one(scene):
    rows = iter(head_rows(scene.net, scene.pictures, scene.root.category_names))
    for picture, shown in choose(scene.pictures, 5):
        (sample,) = object_samples([picture])
        made = predict_boxes(scene.net, [sample], scene.recipe.boxcaseg)[0]
        for index in shown:
            row = next(rows)
            assert np.array_equal(row.mask, rle.decode(made[index].rle).astype(bool))
            assert list(row.maps) == ["weak", "salient", "transferred", "fused"]
            x0, y0, x1, y1 = row.box
            assert all(
                v.shape == (y1 - y0, x1 - x0) and 0 <= v.min() <= v.max() <= 1 for v in row.maps.values()
            )
            assert row.iou == pytest.approx((row.mask & row.truth).sum() / (row.mask | row.truth).sum())


@pytest.mark.parametrize(
    "heads, shown",
    [(["weak"], ["weak"]), (["weak", "salient"], ["weak", "salient"]), (["salient"], ["salient"])],
)
def test_only_heads_that_exist_are_shown(shapes, tmp_path, heads, shown):
    own = untrained(shapes, heads=heads, alpha=1.0)
    rows = head_rows(own.net, own.pictures, own.root.category_names)
    assert list(rows[0].maps) == shown
    made = draw_stage1(own.net, own.recipe, own.root, own.salient, own.pictures, tmp_path, "A test.")
    assert [entry["file"] for entry in made] == ["patches.jpg", "heads.jpg"]
    for entry in made:
        assert set(entry) == {"file", "title", "caption", "alt", "width", "height"}
        assert entry["caption"].endswith("A test.")
        assert Image.open(tmp_path / entry["file"]).size == (entry["width"], entry["height"])


def test_merged_masks_share_no_pixel_and_kept_ones_agree_with_their_boxes(scene):
    rules = ProxyRules(drop=0.6, agreement="exact")
    rows = [mask_row(scene.net, picture, rules, "image") for picture in contested(scene.pictures)]
    assert any((row.raw.sum(0) > 1).any() for row in rows), "the images' objects overlap"
    for row in rows:
        assert (row.merged.sum(0) <= 1).all() and not (row.merged & ~row.raw).any()
        assert np.array_equal(row.merged.any(0), row.raw.any(0))
        for mask, box, value, kept in zip(row.merged, row.boxes, row.agreement, row.kept, strict=True):
            ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            tight = (xs[0], ys[0], xs[-1] + 1, ys[-1] + 1) if mask.any() else (0, 0, 0, 0)
            low, high = np.maximum(tight[:2], box[:2]), np.minimum(tight[2:], box[2:])
            common = np.prod(np.clip(high - low, 0, None))
            areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (tight, box)]
            assert value == pytest.approx(common / (sum(areas) - common))
            assert kept == (value > 0.6)


def raw_images(scene) -> list[dict]:
    """Raw proxy masks of the training images, as their file has them."""
    images = []
    for picture, sample in zip(scene.root.train, object_samples(scene.root.train), strict=True):
        objects = []
        for instance, made in zip(
            picture.instances, predict_boxes(scene.net, [sample], scene.recipe.boxcaseg)[0], strict=True
        ):
            x0, y0, x1, y1 = instance.box
            objects.append(
                {
                    "annotation_id": instance.id,
                    "category_id": 1 + instance.label,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "rle": {"size": made.rle["size"], "counts": made.rle["counts"].decode()},
                }
            )
        head = {"image_id": picture.id, "file_name": "x", "height": picture.height, "width": picture.width}
        images.append({**head, "objects": objects})
    return images


def test_proxy_masks_are_shown_as_the_mask_rcnn_gets_them(scene):
    rules, images = ProxyRules(drop=0.6, agreement="exact"), raw_images(scene)
    kept, _ = proxy_masks(images, rules)
    pictures = {f"image {picture.id}": picture for picture in scene.root.train}
    rows = proxy_rows(iter(images), scene.root, rules)
    assert 0 < len(rows) <= 12 and len({row.name for row in rows}) == len(rows)
    for row in rows:
        instances = pictures[row.name].instances
        assert len(instances) == len(row.kept) and 2 <= len(instances) <= 6
        for instance, mask, flag in zip(instances, row.merged, row.kept, strict=True):
            assert flag == (instance.id in kept)
            expected = rle.decode(kept[instance.id]).astype(bool) if flag else np.zeros_like(mask)
            assert np.array_equal(mask, expected)
    assert any(row.kept.any() for row in rows) and not all(row.kept.all() for row in rows)


def picture(id: int, *boxes: tuple[float, ...]) -> Picture:
    objects = [Instance(i, i % 2, box, False, None) for i, box in enumerate(boxes)]
    return Picture(id, Path("none.png"), 100, 100, objects)


def test_images_with_contested_boxes_come_first_whatever_their_classes():
    apart = ((0, 0, 20, 20), (50, 50, 90, 90))
    touching = ((0, 0, 40, 40), (38, 0, 80, 40))
    over = ((0, 0, 90, 90), (80, 80, 100, 100))  # a quarter of the small one
    inside = ((0, 0, 90, 90), (20, 20, 30, 30))
    many = tuple((0, 0, 10 + i, 10) for i in range(7))
    pictures = [picture(1, *apart), picture(2), picture(3, *touching), picture(4, *many), picture(5, *inside)]
    pictures.append(picture(6, *over))
    assert [p.id for p in contested(pictures)] == [5, 4, 1, 3, 6]
    assert [p.id for p in contested(pictures, 1)] == [5]
    only = picture(7, (0, 0, 50, 50))
    only.instances[0].crowd = True
    assert contested([only]) == []


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A results folder in which both stages look finished; the plan and their ids."""
    plan, results = make_plan("smoke"), tmp_path_factory.mktemp("results")
    second = plan.row_runs("boxcaseg/7", "PASCAL, merge, drop")[plan.seeds[0]]
    first = plan.runs[second].recipe.proxy.parent
    recipe = plan.runs[first].recipe.settled()
    make_data(plan, results, shapes_root(recipe))
    root = open_root(recipe, run_root(recipe, results, "smoke", None))
    folders = {id: results / "smoke" / "runs" / id for id in (first, second)}
    folders[second].mkdir(parents=True)
    torch.manual_seed(0)
    net = build_method(recipe, root.num_classes)
    save_model(folders[first] / "model.pt", first, 1, net)
    make_proxies(net, root, folders[first], make_fabric(recipe.schedule, "cpu", [0]), show=False)
    spec = plan.runs[second].recipe.proxy
    _, proxy = load_proxies(folders[first], spec, plan.seeds[0])
    data = {"root_name": root.name, "fingerprint": root.fingerprint}
    write_json(folders[first] / "train.json", {"data": data})
    write_json(folders[second] / "train.json", {"data": data, "proxy": {"id": first, **proxy}})
    return SimpleNamespace(plan=plan, results=results, first=first, second=second, folders=folders)


def test_both_stages_have_pictures(trained):
    listed = picture_runs(trained.plan, [trained.first, trained.second], trained.results, None)
    made = [json.loads(path.read_text()) for path in listed]
    assert [[e["file"] for e in m] for m in made] == [
        ["patches.jpg", "heads.jpg"],
        ["masks.jpg", "proxies.jpg"],
    ]
    for path, entries in zip(listed, made, strict=True):
        assert {file.name for file in path.parent.iterdir()} == {e["file"] for e in entries} | {path.name}
    assert trained.first in made[1][0]["caption"] and "of all" in made[1][1]["caption"].lower()


def test_masks_of_other_weights_than_were_trained_on_are_refused(trained):
    path = trained.folders[trained.second] / "train.json"
    content = json.loads(path.read_text())
    assert content["proxy"]["weights"] == digest(trained.folders[trained.first] / "model.pt")
    other = {**content, "proxy": {**content["proxy"], "weights": "0" * 16}}
    write_json(path, other)
    with pytest.raises(WsisError, match=r"weights 0000000000000000, which aren't in .* train it again"):
        picture_runs(trained.plan, [trained.second], trained.results, None)
    write_json(path, content)
    model = trained.folders[trained.first] / "model.pt"
    model.rename(model.with_suffix(".away"))
    with pytest.raises(WsisError, match="train it again"):
        picture_runs(trained.plan, [trained.second], trained.results, None)
    model.with_suffix(".away").rename(model)


def test_a_supervised_mask_rcnn_has_no_pictures(trained):
    other = next(
        id
        for id, run in trained.plan.runs.items()
        if run.recipe.method == "mask_rcnn" and not run.recipe.proxy
    )
    with pytest.raises(WsisError, match="trained on proxy masks"):
        picture_runs(trained.plan, [other], trained.results, None)
