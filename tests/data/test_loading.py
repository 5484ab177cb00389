"""The stream of batches: determinism, splitting over processes, hidden masks, padding."""

from __future__ import annotations

import time
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from pycocotools import mask as rle

from wsis.data import loading
from wsis.data.loading import Shard, eval_samples, train_batches
from wsis.data.roots import open_root
from wsis.data.structures import PADDING
from wsis.errors import WsisError


def same(a, b):
    pairs = [(a.images, b.images), (a.valid, b.valid), (a.scales, b.scales)]
    for x, y in zip(a.targets, b.targets, strict=True):
        pairs += [(x.boxes, y.boxes), (x.labels, y.labels)]
        assert (x.masks is None) == (y.masks is None)
        pairs += [] if x.masks is None else [(x.masks, y.masks), (x.has_mask, y.has_mask)]
    return a.ids == b.ids and all(x.dtype == y.dtype and torch.equal(x, y) for x, y in pairs)


def take(number, recipe, root, start=0, workers=0):
    return list(islice(train_batches(recipe, root, Shard(start, workers=workers)), number))


def test_the_stream_can_be_entered_anywhere(shapes, recipe):
    r = recipe(supervision="masks")
    whole = take(20, r, shapes, 0)
    for t in (1, 7, 19):
        assert same(whole[t][0], next(train_batches(r, shapes, Shard(t)))[0])
    assert whole[0][0].ids != next(train_batches(recipe(seed=1), shapes))[0].ids


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_number_of_readers_changes_nothing(shapes, recipe, workers):
    r = recipe(supervision="masks")
    torch.manual_seed(5)
    state = torch.get_rng_state()
    for a, b in zip(take(7, r, shapes, 3), take(7, r, shapes, 3, workers), strict=True):
        assert same(a[0], b[0])
    assert torch.equal(torch.get_rng_state(), state), "nor the process-wide random numbers"


def test_an_error_of_a_reader_reaches_the_caller(coco_root, recipe):
    (coco_root.root / "train2017" / "2.jpg").unlink()
    with pytest.raises(WsisError, match=r"2\.jpg: missing"):
        take(5, recipe("coco", batch=2, short_side=(20,)), coco_root.root, 0, workers=2)


def test_processes_and_micro_batches_share_one_stream(shapes, recipe):
    r = recipe(supervision="masks")
    for t in range(9):
        whole = next(train_batches(r, shapes, Shard(t)))[0]
        pieces = [next(train_batches(r, shapes, Shard(t, rank, 2))) for rank in (0, 1)]
        assert pieces[0][0].ids + pieces[1][0].ids == whole.ids
        assert torch.equal(torch.cat([p[0].images for p in pieces]), whole.images), "augmented alike, too"
        micro = next(train_batches(r, shapes, Shard(t, micro=2)))
        assert [same(a, b[0]) for a, b in zip(micro, pieces, strict=True)] == [True, True]
        four = [b for rank in (0, 1) for b in next(train_batches(r, shapes, Shard(t, rank, 2, 2)))]
        assert Counter(i for b in four for i in b.ids) == Counter(whole.ids)


def test_every_image_once_an_epoch_in_a_new_order(shapes, recipe):
    ids = [i for batch in take(15, recipe(), shapes, 0) for i in batch[0].ids]  # 120 = two epochs of 60
    assert sorted(ids[:60]) == sorted(ids[60:]) == list(range(1, 61)) and ids[:60] != ids[60:]


def test_uneven_batches_are_refused(shapes, recipe):
    with pytest.raises(WsisError, match="8 images can't be split over 3 processes"):
        train_batches(recipe(), shapes, Shard(world=3))


def test_box_supervision_never_decodes_a_mask(shapes, recipe, monkeypatch):
    def refuse(*args):
        raise AssertionError("a mask was decoded")

    for kind in ("encode", "decode", "merge", "frPyObjects"):
        monkeypatch.setattr(rle, kind, refuse)
    for supervision in ("boxes", "boxes+salient", "semantic"):
        root = open_root(recipe(supervision=supervision), shapes)
        assert all(i.segmentation is None for p in [*root.train, *root.eval] for i in p.instances)
        for (batch,) in take(8, recipe(supervision=supervision), root, 0):
            assert all(t.masks is None and t.has_mask is None for t in batch.targets)
    with pytest.raises(AssertionError, match="decoded"):
        take(1, recipe(supervision="masks"), shapes, 0)


@pytest.mark.parametrize(
    ("supervision", "seen"), [("masks", {0, 1, 2}), ("masks-voc", {0}), ("masks-nonvoc", {1, 2})]
)
def test_masks_are_given_for_their_group_only(shapes, recipe, supervision, seen):
    found = set()
    for (batch,) in take(8, recipe(supervision=supervision), shapes, 0):
        for target in batch.targets:
            assert target.masks.dtype == target.has_mask.dtype == torch.bool
            assert target.masks.shape == (len(target.boxes), *batch.images.shape[2:])
            for box, label, mask, given in zip(
                target.boxes, target.labels, target.masks, target.has_mask, strict=True
            ):
                assert bool(given) == (int(label) in seen) == bool(mask.any())
                if given:
                    found.add(int(label))
                    ys, xs = torch.nonzero(mask, as_tuple=True)
                    assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    assert found == seen


def test_padding_is_the_mean_colour_marked_and_at_the_end(coco_root, recipe):
    r = recipe("coco", batch=2, short_side=(20, 40), supervision="masks", augment="none")
    for (batch,) in take(6, r, coco_root.root, 0):
        height, width = batch.images.shape[2:]
        assert height % 32 == width % 32 == 0 and batch.images.dtype == torch.uint8
        for image, valid, scale, target in zip(
            batch.images, batch.valid, batch.scales, batch.targets, strict=True
        ):
            h, w = round(20 * float(scale)), round(30 * float(scale))
            assert valid[:h, :w].all() and valid.sum() == h * w
            assert (image[:, ~valid] == torch.tensor(PADDING)[:, None]).all()
            assert target.boxes.tolist() == [[4 * scale, 5 * scale, 14 * scale, 13 * scale]]
            assert target.masks.sum() == 80 * scale**2 and not (target.masks & ~valid).any()


def test_pairs_share_an_orientation(coco_root, recipe):
    def change(content):
        for i, image in enumerate(content["images"]):
            image["height"], image["width"] = (20, 30) if i % 2 else (30, 20)

    coco_root(change)
    source = loading.ImageSource(recipe("coco", batch=2), open_root(recipe("coco", batch=2), coco_root.root))
    for epoch in range(6):
        order = source.order(epoch)
        assert sorted(order) == [0, 1, 2, 3]
        assert all(source.wide[a] == source.wide[b] for a, b in order.reshape(-1, 2))


def test_evaluation_samples_cover_all_images_in_order(shapes, recipe):
    r = recipe(eval_images=7)
    whole = list(eval_samples(r, shapes))
    assert [s.id for s in whole] == list(range(1, 8))
    parts = [list(eval_samples(r, shapes, rank, 2)) for rank in (0, 1)]
    assert sorted(s.id for part in parts for s in part) == list(range(1, 8))
    assert all(s.image.shape == (3, 96, 96) and s.size == (96, 96) for s in whole)
    assert next(eval_samples(recipe(eval_short_side=48), shapes)).image.shape == (3, 48, 48)


def test_small_data_sets_are_fast(shapes, recipe):
    batches = train_batches(recipe(), shapes)
    list(islice(batches, 8))
    seconds = []
    for _ in range(20):
        start = time.process_time()
        next(batches)
        seconds.append(time.process_time() - start)
    assert np.median(seconds) < 0.010, "a cached batch of eight costs under 10 ms"


def test_real_coco_batches(shared, recipe):
    r = recipe("coco", batch=2, short_side=(160,), max_side=320, supervision="masks")
    root = open_root(r, shared("coco"))
    gaps = []
    for (batch,) in take(10, r, root, 0):
        for target in batch.targets:
            sides = target.boxes[:, 2:] - target.boxes[:, :2]
            assert (sides >= 1).all() and target.has_mask.all()
            for box, mask in zip(target.boxes, target.masks, strict=True):
                if mask.sum() > 100:
                    ys, xs = torch.nonzero(mask, as_tuple=True)
                    around = torch.tensor([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
                    assert (around[:2] >= box[:2] - 1).all() and (around[2:] <= box[2:] + 1).all()
                    gaps.append((around - box).abs().max())
    assert len(gaps) > 20 and np.median(gaps) < 1, "thin parts may vanish, but most masks fill their boxes"
    assert sum(1 for _ in eval_samples(recipe("coco", eval_images=3), root.path)) == 3
