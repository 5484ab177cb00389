"""Batches of object patches: order, shares, labels, and what is refused."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.methods.boxcaseg.scenes import network
from wsis.data.loading import Shard
from wsis.data.roots import open_root
from wsis.data.salient import SalientRoot, open_salient
from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import DataSpec
from wsis.declare.specs.schedule import ScheduleSpec
from wsis.errors import WsisError
from wsis.methods.boxcaseg.crops import normalise_patch
from wsis.methods.boxcaseg.overlap import overlapping
from wsis.methods.boxcaseg.patches import patch_batches
from wsis.methods.boxcaseg.spec import BoxCasegSpec
from wsis.methods.fill import object_samples


def boxcaseg(dataset="shapes", batch=16, seed=0, supervision="boxes+salient", data=None, **own):
    """A recipe of 48 x 48 patches."""
    given = {"train": "train", "eval": "val"} if dataset == "shapes" else {}
    return Recipe(
        method="boxcaseg",
        seed=seed,
        data=DataSpec(
            dataset=dataset, supervision=supervision, **{"augment": "none", **given, **(data or {})}
        ),
        boxcaseg=BoxCasegSpec(**{"patch": 48, "side": 53, **own}),
        schedule=ScheduleSpec(batch=batch),
    )


def take(n, recipe, root, salient, start=0, **options):
    root = open_root(recipe, root) if isinstance(root, Path) else root
    return list(islice(patch_batches(recipe, root, salient, Shard(start, **options)), n))


def same(a, b):
    return a.ids == b.ids and all(
        torch.equal(getattr(a, n), getattr(b, n)) for n in ("images", "labels", "salient")
    )


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """30 salient images whose red channel is their mask: 37 x 53 pixels, a square each."""
    root = tmp_path_factory.mktemp("salient")
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for index in range(30):
        mask = np.zeros((37, 53), np.uint8)
        mask[5 : 20 + index % 10, 8 + index % 7 : 40] = 255
        image = np.random.default_rng(index).integers(0, 256, (37, 53, 3), dtype=np.uint8)
        image[..., 0] = mask
        Image.fromarray(image).save(root / "images" / f"{index:02d}.png")
        Image.fromarray(mask).save(root / "masks" / f"{index:02d}.png")
    return open_salient(root)


@pytest.mark.parametrize("ratio", ["random", "11:5"])
def test_a_stream_does_not_depend_on_where_it_is_entered(shapes, pairs, ratio):
    recipe = boxcaseg(ratio=ratio, data={"augment": "dihedral"})
    whole = take(12, recipe, shapes, pairs)
    later = take(4, recipe, shapes, pairs, start=8)
    threads = take(12, recipe, shapes, pairs, workers=3)
    assert all(same(a[0], b[0]) for a, b in zip(whole[8:], later, strict=True))
    assert all(same(a[0], b[0]) for a, b in zip(whole, threads, strict=True))
    other = take(12, boxcaseg(ratio=ratio, seed=1), shapes, pairs)
    assert not any(same(a[0], b[0]) for a, b in zip(whole, other, strict=True))


@pytest.mark.parametrize("ratio", ["random", "11:5"])
def test_processes_and_micro_batches_share_one_stream(shapes, pairs, ratio):
    recipe = boxcaseg(ratio=ratio)
    for t in range(4):
        (whole,) = take(1, recipe, shapes, pairs, start=t)[0]
        halves = [take(1, recipe, shapes, pairs, start=t, rank=r, world=2)[0][0] for r in (0, 1)]
        assert [*halves[0].ids, *halves[1].ids] == whole.ids
        assert torch.equal(torch.cat([half.images for half in halves]), whole.images)
        micro = take(1, recipe, shapes, pairs, start=t, micro=2)[0]
        assert all(same(a, b) for a, b in zip(micro, halves, strict=True))
        if ratio != "random":
            shares = [int(half.salient.sum()) for half in halves]
            assert max(shares) - min(shares) <= 1, "each process has its share of both kinds"


def test_shapes_dtypes_and_labels(shapes, pairs):
    for (batch,) in take(6, boxcaseg(ratio="8:8"), shapes, pairs):
        assert batch.images.shape == (16, 3, 48, 48) and batch.images.dtype == torch.float32
        assert batch.labels.shape == (16, 48, 48) and batch.labels.dtype == torch.float32
        assert batch.salient.dtype == torch.bool and batch.salient.sum() == 8
        for label in batch.labels[~batch.salient]:
            rows, columns = label.any(1), label.any(0)
            assert label.any() and torch.equal(label, (rows[:, None] & columns[None]).float())
            for line in (rows, columns):
                (places,) = torch.nonzero(line, as_tuple=True)
                assert places[-1] - places[0] + 1 == len(places), "one rectangle"
        moved = batch.to(torch.device("cpu"))
        assert same(moved, batch)


@pytest.mark.parametrize("batch", [16, 4, 6, 1])
@pytest.mark.parametrize("ratio", ["8:8", "11:5", "14:2"])
def test_the_ratio_holds_in_every_batch_as_closely_as_it_can(shapes, pairs, ratio, batch):
    recipe = boxcaseg(ratio=ratio, batch=batch)
    a, b = (int(part) for part in ratio.split(":"))
    exact, boxes = Fraction(a, a + b) * batch, 0
    for t, (patches,) in enumerate(take(24, recipe, shapes, pairs)):
        here = int((~patches.salient).sum())
        boxes += here
        assert abs(here - exact) < 1 and abs(boxes - (t + 1) * exact) < 1


def test_every_object_and_every_salient_image_once_an_epoch(shapes, pairs):
    objects = [i.id for p in open_root(boxcaseg(), shapes).train for i in p.instances]
    for ratio, kinds in (("random", 1), ("8:8", 2)):
        batches = take(60, boxcaseg(ratio=ratio), shapes, pairs)
        drawn = [(bool(s), i) for (b,) in batches for s, i in zip(b.salient, b.ids, strict=True)]
        streams = [drawn] if kinds == 1 else [[d for d in drawn if d[0] == s] for s in (False, True)]
        for stream in streams:
            both = {(False, i) for i in objects} | {(True, i) for i in range(len(pairs))}
            expected = {d for d in both if kinds == 1 or d[0] == stream[0][0]}
            epochs = [stream[k : k + len(expected)] for k in range(0, len(stream), len(expected))]
            whole = [epoch for epoch in epochs if len(epoch) == len(expected)]
            assert len(whole) >= 2 and all(set(epoch) == expected for epoch in whole)
            assert whole[0] != whole[1], "in a new order"


def test_overlapping_boxes_by_loops():
    rng = np.random.default_rng(0)
    owners = np.sort(rng.integers(0, 12, 90))
    low = rng.uniform(0, 20, (90, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 30, (90, 2))], 1)

    def iou(a, b):
        sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
        shared = sides.prod() if (sides > 0).all() else 0.0
        return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)

    expected = [
        any(iou(boxes[i], boxes[j]) > 0.5 for j in range(90) if i != j and owners[i] == owners[j])
        for i in range(90)
    ]
    assert 10 < sum(expected) < 80
    assert overlapping(owners, boxes).tolist() == expected
    assert overlapping(owners[:0], boxes[:0]).shape == (0,) and not overlapping(owners[:1], boxes[:1]).any()


def test_an_epoch_skips_boxes_that_overlap_others(coco_root):
    """Three quarters of them, others in each epoch; all that stand alone are there once."""

    def change(content):
        content["annotations"] = []
        for image in content["images"]:
            for x0, y0, x1, y1 in ((1, 1, 11, 11), (2, 1, 12, 11), (15, 2, 25, 12), (15, 14, 20, 19)):
                number = len(content["annotations"]) + 1
                content["annotations"].append(
                    {"id": number, "image_id": image["id"], "category_id": 3, "iscrowd": 0, "area": 1,
                     "bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": [[x0, y0, x1, y0, x1, y1]]}
                )  # fmt: skip

    root = coco_root(change)
    given = {"train": "train2017", "eval": "val2017"}
    keys = {"dataset": "coco", "batch": 2, "supervision": "boxes", "data": given, "heads": ("weak",)}
    objects = [i for p in open_root(boxcaseg(**keys), root).train for i in p.instances]
    crowded = {i.id for i in objects if i.box[0] < 10}
    alone = {i.id for i in objects} - crowded
    length = len(alone) + round(0.25 * len(crowded))
    recipe = boxcaseg(**keys, skip_overlapping=0.75)
    drawn = [i for (b,) in take(2 * length, recipe, root, None) for i in b.ids]
    epochs = [drawn[k : k + length] for k in range(0, len(drawn), length)]
    assert len(epochs) >= 4
    for epoch in epochs:
        assert len(set(epoch)) == length and alone <= set(epoch)
    assert len({frozenset(set(epoch) & crowded) for epoch in epochs}) > 1
    assert {i for epoch in epochs for i in epoch} > alone
    later = [i for (b,) in take(3, recipe, root, None, start=length) for i in b.ids]
    assert later == drawn[2 * length : 2 * length + 6], "wherever it is entered"
    cuts = {network(skip_overlapping=x).cut(None) for x in (0.0, 0.5, 0.75)}
    assert len(cuts) == 3, "none takes the batches of another"
    nothing = take(4, boxcaseg(**keys, skip_overlapping=0.0), root, None)
    assert [b.ids for (b,) in nothing] == [b.ids for (b,) in take(4, boxcaseg(**keys), root, None)]


def test_fewer_salient_images_are_part_of_more(shapes, pairs):
    used = {}
    for number in (3, 10, 30, 7991):
        batches = take(20, boxcaseg(ratio="8:8", salient_images=number), shapes, pairs)
        used[number] = {i for (b,) in batches for s, i in zip(b.salient, b.ids, strict=True) if s}
        assert len(used[number]) == min(number, len(pairs))
    assert used[3] < used[10] < used[30] == used[7991]
    again = take(20, boxcaseg(ratio="8:8", salient_images=3, seed=5), shapes, pairs)
    assert used[3] != {i for (b,) in again for s, i in zip(b.salient, b.ids, strict=True) if s}


def red(batch, kinds):
    """The red channel of patches of one kind, back to 0..1."""
    values = batch.images[kinds, 0]
    return values * 0.229 + 0.485


def test_salient_labels_lie_on_their_images_however_mirrored(shapes, pairs):
    recipe = boxcaseg(heads=("salient",), normalise="imagenet")
    seen = Counter()
    for (batch,) in take(8, recipe, None, pairs):
        assert batch.salient.all()
        wrong = (red(batch, batch.salient) > 0.5).float() != batch.labels
        assert wrong.float().mean() < 0.03, "bilinear image, nearest label"
        seen.update(batch.ids)
    assert set(seen) == set(range(len(pairs)))


def test_salient_patches_are_cut_and_mirrored_at_random(shapes, pairs):
    """Where the mask's upper left corner ends up: two mirrorings, offsets from 0 to side - patch."""
    one = SalientRoot(pairs.path, pairs.names[:1], pairs.pairs[:1])
    corners, quarters = set(), Counter()
    for (batch,) in take(20, boxcaseg(heads=("salient",)), None, one):
        for label in batch.labels:
            rows, columns = (torch.nonzero(label.any(d), as_tuple=True)[0] for d in (1, 0))
            corners.add((int(rows[0]), int(columns[0])))
            quarters[int(rows[0] + rows[-1] < 47), int(columns[0] + columns[-1] < 47)] += 1
    rows, columns = (sorted({corner[i] for corner in corners}) for i in (0, 1))
    assert len(quarters) == 4 and min(quarters.values()) > 40
    assert len(rows) >= 6 and len(columns) >= 6


@pytest.mark.parametrize("augment", ["none", "flip", "dihedral"])
def test_box_labels_lie_on_their_images(coco_root, augment):
    """Red inside the box alone: the label is where the patch is red, in every orientation."""
    image = np.zeros((20, 30, 3), np.uint8)
    image[..., 1] = np.arange(20)[:, None] * 10  # brighter downwards
    image[5:13, 4:14, 0] = 255
    for id in range(1, 5):
        Image.fromarray(image).save(coco_root.root / "train2017" / f"{id}.jpg", format="PNG")
    recipe = boxcaseg(
        "coco", supervision="boxes", heads=("weak",), normalise="imagenet", data={"augment": augment}
    )
    slopes = Counter()
    for (batch,) in take(6, recipe, coco_root.root, None):
        wrong = (red(batch, ~batch.salient) > 0.5).float() != batch.labels
        assert wrong.float().mean() < 0.03
        assert not batch.salient.any() and set(batch.ids) == {11, 12, 13, 14}
        for green in batch.images[:, 1]:
            down, right = (
                float(green[-1].mean() - green[0].mean()),
                float((green[:, -1] - green[:, 0]).mean()),
            )
            slopes[
                "down" if down > 0.3 else "up" if down < -0.3 else "across" if abs(right) > 0.3 else "?"
            ] += 1
    assert set(slopes) == ({"down", "up", "across"} if augment == "dihedral" else {"down"})


def test_which_heads_need_what(shapes, pairs):
    weak = boxcaseg(supervision="boxes", heads=("weak",))
    assert not any(batch.salient.any() for (batch,) in take(4, weak, shapes, None))
    assert not any(batch.salient.any() for (batch,) in take(4, weak, shapes, pairs)), "not what it declares"
    joint = take(4, boxcaseg(heads=("weak",)), shapes, pairs)
    assert any(batch.salient.any() for (batch,) in joint), "their bag loss stays"
    with pytest.raises(WsisError, match="salient and transferred learn from salient images"):
        take(1, boxcaseg(supervision="boxes"), shapes, pairs)
    with pytest.raises(WsisError, match="needs salient images"):
        take(1, boxcaseg(), shapes, None)
    with pytest.raises(WsisError, match="needs salient images"):
        take(1, boxcaseg(), shapes, SalientRoot(shapes, (), ()))
    with pytest.raises(WsisError, match="give the root"):
        take(1, boxcaseg(), None, pairs)
    with pytest.raises(WsisError, match="16 patches can't be split over 3"):
        take(1, boxcaseg(), shapes, pairs, world=3)
    with pytest.raises(WsisError, match=r"side 40 is below boxcaseg\.patch 48"):
        take(1, boxcaseg(side=40), shapes, pairs)


def test_boxes_of_one_pixel_and_boxes_outside(coco_root):
    def change(content):
        for annotation, box in zip(
            content["annotations"],
            ([29, 19, 1, 1], [40, 5, 10, 8], [-6, -3, 10, 8], [4, 5, 10, 0]),
            strict=True,
        ):
            annotation["bbox"] = box

    recipe = boxcaseg("coco", supervision="boxes", heads=("weak",))
    ids = Counter()
    for (batch,) in take(6, recipe, coco_root(change), None):
        assert batch.labels.flatten(1).any(1).all() and batch.images.isfinite().all()
        ids.update(batch.ids)
    assert set(ids) == {11, 13}

    def none_left(content):
        for annotation in content["annotations"]:
            annotation["bbox"] = [40, 5, 10, 8]

    with pytest.raises(WsisError, match="no box has area"):
        take(1, recipe, coco_root(none_left), None)


def test_grey_images_soft_masks_and_sizes_that_differ(tmp_path, pairs):
    root = tmp_path / "salient"
    shutil.copytree(pairs.path, root)
    soft = np.tile(np.linspace(0, 100, 53).astype(np.uint8), (37, 1))  # its largest value is 100
    for index in range(30):
        Image.fromarray(soft).save(root / "masks" / f"{index:02d}.png")
        Image.fromarray(soft).save(root / "images" / f"{index:02d}.png")
    recipe = boxcaseg(heads=("salient",))
    (batch,) = take(1, recipe, None, open_salient(root))[0]
    assert 0.9 < batch.labels.max() <= 1 and batch.labels.min() >= 0
    assert len(batch.labels.unique()) > 20
    grey = batch.images * torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    grey = grey + torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    assert torch.allclose(grey[:, 0], grey[:, 2], atol=1e-5), "grey is repeated"
    assert grey.amax((1, 2, 3)).allclose(torch.ones(16), atol=1e-5), "over its largest value"
    Image.new("RGB", (53, 36)).save(root / "images" / "04.png")
    with pytest.raises(WsisError, match=r"04\.png: is 53x36"):
        take(4, recipe, None, open_salient(root))
    (root / "images" / "04.png").write_text("no image")
    with pytest.raises(WsisError, match=r"04\.png: can't be decoded"):
        take(4, recipe, None, open_salient(root), workers=2)


def test_samples_for_inference(coco_root):
    def change(content):
        content["annotations"][1]["iscrowd"] = 1
        content["annotations"][3]["bbox"] = [40, 5, 10, 8]

    recipe = boxcaseg("coco", supervision="boxes", heads=("weak",))
    root = open_root(recipe, coco_root(change, "val2017"))
    samples = list(object_samples(root.eval))
    assert [s.id for s in samples] == [1, 2, 3, 4] and [s.annotation_ids for s in samples] == [
        [11],
        [],
        [13],
        [14],
    ]
    for sample in samples:
        assert sample.image.shape == (3, 20, 30) and sample.image.dtype == torch.uint8
        assert sample.boxes.shape == (len(sample.annotation_ids), 4) and sample.boxes.dtype == torch.float32
        assert sample.labels.dtype == torch.int64 and len(sample.labels) == len(sample.boxes)
    assert samples[0].boxes.tolist() == [[4, 5, 14, 13]] and samples[3].boxes.tolist() == [[40, 5, 50, 13]]
    parts = [[s.id for s in object_samples(root.eval, rank, 2)] for rank in (0, 1)]
    assert parts == [[1, 3], [2, 4]]


def test_generated_salient_images_are_fit_for_training(shapes):
    salient = open_salient(shapes / "salient")
    assert len(salient) == 4
    (batch,) = take(1, boxcaseg(ratio="8:8"), shapes, salient)[0]
    covered = batch.labels[batch.salient].mean((1, 2))
    assert ((covered > 0.05) & (covered < 0.95)).all()


def test_batches_are_fast(shapes, pairs):
    recipe = boxcaseg(ratio="11:5")
    batches = patch_batches(recipe, open_root(recipe, shapes), pairs)
    list(islice(batches, 30))
    seconds = []
    for _ in range(20):
        start = time.process_time()
        next(batches)
        seconds.append(time.process_time() - start)
    assert np.median(seconds) < 0.010, "a cached batch of sixteen costs a few ms"


def test_real_images(shared):
    recipe = boxcaseg("voc", ratio="11:5", data={"train": "train", "eval": "val"}, patch=64, side=72)
    root = open_root(recipe, shared("voc_from_coco"))
    salient = open_salient(shared("salient"))
    ids = Counter()
    for (batch,) in take(3, recipe, root, salient):
        assert batch.images.isfinite().all() and batch.images.abs().max() < 5
        assert batch.labels.flatten(1).any(1).all() and batch.salient.sum() == 5
        ids.update(i for i, s in zip(batch.ids, batch.salient, strict=True) if not s)
    known = {i.id for p in root.train for i in p.instances}
    assert len(ids) == 33 and set(ids) <= known
    sample = next(object_samples(root.eval))
    assert len(sample.boxes) and normalise_patch(sample.image, False).shape == sample.image.shape
