"""Batches of images with boxes and of salient images: shares, shards, and what a salient image shows."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from wsis.data.loading import Shard
from wsis.data.ratio import kind_at
from wsis.data.roots import open_root
from wsis.data.salient import open_salient
from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import DataSpec
from wsis.declare.specs.schedule import ScheduleSpec
from wsis.errors import WsisError
from wsis.methods.bbtp.mixed import mixed_batches, one_object


def spec(batch: int = 8, **data) -> Recipe:
    given = {"dataset": "shapes", "train": "train", "eval": "val", "supervision": "boxes+salient"}
    given |= {"short_side": (64, 96), "augment": "dihedral"} | data
    return Recipe(method="bbtp", data=DataSpec(**given), schedule=ScheduleSpec(batch=batch))


@pytest.fixture(scope="module")
def root(shapes):
    return open_root(spec(), shapes)


@pytest.fixture(scope="module")
def salient(tmp_path_factory):
    """Nine images of 40 x 60 pixels whose red channel is their mask; the last one's is empty."""
    folder = tmp_path_factory.mktemp("salient")
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for number in range(9):
        mask = np.zeros((40, 60), np.uint8)
        if number < 8:
            mask[4 + number : 30, 10 : 40 + number] = 255
        image = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
        image[..., 0] = mask
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    (folder / "train.txt").write_text("\n".join(str(number) for number in range(9)))
    return open_salient(folder)


def take(number: int, recipe: Recipe, *roots, **shard):
    return list(islice(mixed_batches(recipe, *roots, Shard(**shard)), number))


def shown(batch) -> list[bool]:
    return [target.masks is not None for target in batch.targets]


@pytest.mark.parametrize("size", [1, 4, 6, 16])
@pytest.mark.parametrize("ratio", [(9, 7), (1, 1), (5, 0)])
def test_a_ratio_holds_in_every_batch_and_each_kind_is_counted_without_gaps(size, ratio):
    drawn = {0: [], 1: []}
    for t in range(20):
        for place in range(size):
            kind, number = kind_at(t, place, size, ratio)
            drawn[kind].append(number)
        exact = Fraction(ratio[0], sum(ratio)) * size * (t + 1)
        assert abs(len(drawn[0]) - exact) < 1
    assert all(numbers == list(range(len(numbers))) for numbers in drawn.values())


def test_nine_images_with_boxes_to_seven_salient_ones_spread_over_the_shards(root, salient):
    for (batch,) in take(3, spec(16), root, salient):
        assert sum(shown(batch)) == 7
    for t in range(3):
        (whole,) = take(1, spec(), root, salient, start=t)[0]
        parts = [take(1, spec(), root, salient, start=t, rank=r, world=2, micro=2)[0] for r in (0, 1)]
        ordered = [parts[m % 2][m // 2] for m in range(4)]  # micro-batch m of rank r is part 2 m + r
        assert [id for part in ordered for id in part.ids] == whole.ids
        assert [kind for part in ordered for kind in shown(part)] == shown(whole)
        assert {sum(shown(part)) for part in ordered} <= {0, 1, 2}


def test_a_stream_does_not_depend_on_where_it_is_entered(root, salient):
    later, whole = take(2, spec(), root, salient, start=3), take(5, spec(), root, salient)
    for (one,), (other,) in zip(later, whole[3:], strict=True):
        assert one.ids == other.ids and torch.equal(one.images, other.images)


def test_images_with_boxes_show_no_mask_and_salient_ones_their_object_in_its_place(root, salient):
    """The mask is where the image is red, after resizing and turning; its box is tight around it."""
    seen = set()
    for (batch,) in take(12, spec(), root, salient):
        for image, target, id in zip(batch.images, batch.targets, batch.ids, strict=True):
            if target.masks is None:
                assert len(target.boxes) and (target.labels >= 0).all() and not target.masked.any()
                continue
            seen.add(id)
            assert len(target.boxes) == len(target.masks) == (id != 8)
            if id == 8:
                continue
            (mask,), (x0, y0, x1, y1) = target.masks, target.boxes[0].int().tolist()
            assert target.labels.tolist() == [-1] and target.masked.all()
            assert mask[y0:y1, x0:x1].all() and mask.sum() == (y1 - y0) * (x1 - x0)  # rectangles
            red = image[0] > 128
            assert (red != mask)[y0 - 3 : y1 + 3, x0 - 3 : x1 + 3].float().mean() < 0.06  # blurred edges
    assert seen == set(range(9)), "each once an epoch"


def test_the_box_is_the_tight_one():
    mask = np.zeros((6, 9), bool)
    mask[2, 3] = mask[4, 7] = True
    view = one_object(np.zeros((6, 9, 3), np.uint8), mask)
    assert view.boxes.tolist() == [[3, 2, 8, 5]] and view.has_mask.tolist() == [True]


def test_without_salient_images_or_an_even_split_is_an_error(root, salient):
    with pytest.raises(WsisError, match="needs salient images"):
        mixed_batches(spec(), root, None)
    with pytest.raises(WsisError, match="8 images can't be split"):
        mixed_batches(spec(), root, salient, Shard(world=3))
