"""Large-scale jitter: where a drawn disc comes to lie by its equation, padding, the stream."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from wsis.data import placement
from wsis.data.annotations import Instance, Picture
from wsis.data.loading import Shard, annotated, collate, train_batches
from wsis.data.placement import Placement, jittered
from wsis.data.structures import PADDING
from wsis.data.transforms import View
from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import SCALE_JITTER
from wsis.declare.specs.loss import PairwiseSpec
from wsis.losses.colour import colour_edges
from wsis.losses.pairwise import pairwise_loss, supervised_edges
from wsis.losses.projection import grid_rectangles
from wsis.plan import make_plan

HEIGHT, WIDTH, FRAME = 120, 180, 96
CENTRE, RADIUS = (145.0, 32.0), 22.0  # x, y and pixels of the original image
BACK, FRONT = 30, 220


def disc() -> tuple[np.ndarray, Picture]:
    """An image with a disc, which is annotated as a polygon of 200 corners, and a square in a corner."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    image = np.full((HEIGHT, WIDTH, 3), BACK, np.uint8)
    image[(x - CENTRE[0]) ** 2 + (y - CENTRE[1]) ** 2 < RADIUS**2] = FRONT
    turns = np.linspace(0, 2 * np.pi, 201)[:-1]
    outline = np.stack([CENTRE[0] + RADIUS * np.cos(turns), CENTRE[1] + RADIUS * np.sin(turns)], 1)
    (left, top), (right, bottom) = outline.min(0), outline.max(0)
    square = [160, 100, 170, 100, 170, 110, 160, 110]
    objects = [
        Instance(1, 0, (left, top, right, bottom), False, [outline.ravel().tolist()]),
        Instance(2, 1, (160, 100, 170, 110), False, [square]),
    ]
    return image, Picture(1, None, HEIGHT, WIDTH, objects)


def places(count: int = 80) -> list[Placement]:
    return [jittered(HEIGHT, WIDTH, FRAME, np.random.default_rng(seed)) for seed in range(count)]


def test_the_disc_s_mask_box_and_pixels_are_where_its_equation_says():
    image, picture = disc()
    seen = cut = gone = 0
    for placed in places():
        view = annotated(image, picture, False, placed)
        shape = placed.rows, placed.columns
        assert view.image.shape == (*shape, 3) and view.masks.shape[1:] == shape and max(shape) <= FRAME
        scale = np.array([placed.width / WIDTH, placed.height / HEIGHT])
        assert scale == pytest.approx(placed.scale, rel=0.05), "a pixel's rounding of short sides"
        y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
        across, down = (x + placed.left) / scale[0] - CENTRE[0], (y + placed.top) / scale[1] - CENTRE[1]
        truth = across**2 + down**2 < RADIUS**2
        if not truth.any():
            assert 0 not in view.labels
            gone += 1
            continue
        mask, box = view.masks[view.labels == 0][0], view.boxes[view.labels == 0][0]
        if truth.sum() > 150:
            assert (mask & truth).sum() / (mask | truth).sum() > 0.9
            assert ((view.image[..., 0] > (BACK + FRONT) / 2) == truth).mean() > 0.98
            seen += 1
        rows, columns = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
        assert box == pytest.approx([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], abs=1.5)
        cut += placed.cuts and truth.sum() < 0.8 * np.pi * RADIUS**2 * scale.prod()
    assert seen > 30 and cut > 5 and gone > 0


def test_with_boxes_alone_what_is_left_is_the_box_s_part_in_the_window():
    image, picture = disc()
    dropped = 0
    for placed in places():
        view = annotated(image, picture, True, placed)
        assert view.masks is None and view.has_mask is None
        expected = []
        for thing in picture.instances:
            x0, y0, x1, y1 = thing.box * np.array([placed.width / WIDTH, placed.height / HEIGHT] * 2)
            x0, x1 = (min(max(x - placed.left, 0), placed.columns) for x in (x0, x1))
            y0, y1 = (min(max(y - placed.top, 0), placed.rows) for y in (y0, y1))
            if x1 - x0 >= 1 and y1 - y0 >= 1:
                expected.append([x0, y0, x1, y1])
        np.testing.assert_allclose(view.boxes, np.reshape(expected, (-1, 4)), atol=1e-3)
        dropped += 2 - len(expected)
    assert dropped > 10


def test_the_lowest_rows_are_those_that_show_the_original_ones():
    image, picture = disc()
    found = set()
    for placed in places():
        (rows,) = collate([annotated(image, picture, True, placed)], [placed], [1]).lowest(10).tolist()
        centres = (np.arange(placed.rows) + 0.5 + placed.top) * HEIGHT / placed.height
        assert abs(rows - (centres > HEIGHT - 10).sum()) <= 1
        found.add(rows)
    assert 0 in found and max(found) > 7


def test_the_window_is_that_of_the_whole_resized_image():
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    cuts = 0
    for placed in places(30):
        whole = Image.fromarray(image).resize((placed.width, placed.height), Image.Resampling.BILINEAR)
        difference = placed.image(image).astype(int) - placed.cut(np.asarray(whole).astype(int))
        assert np.abs(difference).max() <= 2 and np.abs(difference).mean() < 0.1
        cuts += placed.cuts
    assert cuts > 5


def test_sizes_and_places_are_drawn_evenly():
    """Of a wide image: long sides from a tenth of the frame to twice the frame, windows anywhere."""
    drawn = [jittered(480, 640, 512, np.random.default_rng([3, seed])) for seed in range(2000)]
    long = np.array([placed.width for placed in drawn]) / 512
    assert long.min() >= 0.099 and long.max() <= 2.001
    shares, _ = np.histogram(long, 10, (0.1, 2.0))
    assert shares.min() > 150 and shares.max() < 250
    both = [placed for placed in drawn if placed.height > 600]
    across = np.array([placed.left / (placed.width - 512) for placed in both])
    down = np.array([placed.top / (placed.height - 512) for placed in both])
    for part in (across, down):
        assert part.min() < 0.05 and part.max() > 0.95 and abs(part.mean() - 0.5) < 0.05
    assert abs(np.corrcoef(across, down)[0, 1]) < 0.15
    for placed in drawn:
        assert placed.scale == pytest.approx(placed.width / 640, abs=0.5 / 640)
        assert (placed.rows, placed.columns) == (min(placed.height, 512), min(placed.width, 512))
        assert 0 <= placed.below == placed.height - placed.top - placed.rows
        assert placed.frame == 512


def test_objects_whose_given_mask_is_empty_go_and_cut_masks_have_tight_boxes():
    masks = np.zeros((4, 20, 20), bool)
    masks[0, 0:5, 0:7] = True  # reaches the edge, less of it than its box
    masks[2, 8:12, 8:12] = True  # wholly inside
    boxes = [[0, 0, 15, 15], [0, 0, 9, 9], [7.6, 7.6, 12.4, 12.4], [0, 10, 5, 20]]
    shown = np.array([True, True, True, False])
    view = View(np.zeros((20, 20, 3), np.uint8), np.array(boxes, np.float32), np.arange(4), masks, shown)
    kept = placement.tightened(view)
    assert kept.labels.tolist() == [0, 2, 3] and kept.has_mask.tolist() == [True, True, False]
    np.testing.assert_allclose(kept.boxes, [[0, 0, 7, 5], boxes[2], boxes[3]])
    assert (kept.masks == masks[[0, 2, 3]]).all()


def jitter(recipe, **data) -> Recipe:
    return recipe(**{"augment": SCALE_JITTER, "short_side": (FRAME,)} | data)


@pytest.mark.parametrize("supervision", ["boxes", "masks", "masks-voc"])
def test_batches_are_frames_with_marked_padding(shapes, recipe, supervision):
    small = lower = 0
    for (batch,) in islice(train_batches(jitter(recipe, supervision=supervision), shapes), 12):
        assert batch.images.shape[2:] == (FRAME, FRAME)
        for image, valid, (h, w), below, target in zip(
            batch.images, batch.valid, batch.sizes, batch.below.tolist(), batch.targets, strict=True
        ):
            assert valid[:h, :w].all() and valid.sum() == h * w
            assert (image[:, ~valid] == torch.tensor(PADDING)[:, None]).all()
            assert (target.boxes >= 0).all() and (target.boxes <= torch.tensor([w, h, w, h])).all()
            assert ((target.boxes[:, 2:] - target.boxes[:, :2]) >= 1).all()
            small, lower = small + (h < FRAME), lower + (below > 0)
            if supervision == "boxes":
                assert target.masks is None
                continue
            assert not (target.masks & ~valid).any()
            assert (target.masks.flatten(1).any(1) == target.has_mask).all()
    assert small > 20 and lower > 10


def test_the_stream_can_be_entered_anywhere_and_split(shapes, recipe):
    r = jitter(recipe)
    whole = [batch for (batch,) in islice(train_batches(r, shapes), 6)]
    for t, batch in enumerate(whole):
        (again,) = next(train_batches(r, shapes, Shard(t)))
        halves = [next(train_batches(r, shapes, Shard(t, rank, 2)))[0] for rank in (0, 1)]
        assert torch.equal(again.images, batch.images) and again.ids == batch.ids
        assert torch.equal(torch.cat([half.images for half in halves]), batch.images)
        for name in ("scales", "below", "valid"):
            parts = torch.cat([getattr(half, name) for half in halves])
            assert torch.equal(parts, getattr(batch, name)) and torch.equal(parts, getattr(again, name))
        for a, b in zip([*halves[0].targets, *halves[1].targets], batch.targets, strict=True):
            assert torch.equal(a.boxes, b.boxes) and torch.equal(a.labels, b.labels)


@pytest.mark.parametrize(("edges", "normalise"), [("any", "edges"), ("centre", "supervised")])
def test_padding_has_no_edges_and_counts_in_no_mean(shapes, recipe, edges, normalise):
    """Whatever colour it has: the pairwise loss, its gradient and its counts stay."""
    spec = PairwiseSpec(tau=0.1, colour="image", edges=edges, normalise=normalise, bottom_rows=10)
    (batch,) = next(train_batches(jitter(recipe), shapes))
    boxes = torch.cat([target.boxes for target in batch.targets])
    counts = torch.tensor([len(target.boxes) for target in batch.targets])
    image = torch.repeat_interleave(counts)
    rectangles = grid_rectangles(boxes, 4, FRAME // 4, FRAME // 4)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, batch.images.shape, generator=generator, dtype=torch.uint8)
    # Cells of the rim are averages over some padding, as in any batch: it keeps its colour there.
    far = ~torch.nn.functional.max_pool2d(batch.valid.float(), 9, 1, 4).bool()
    found = []
    for images in (batch.images, torch.where(far[:, None], noise, batch.images)):
        logits = torch.randn(len(boxes), FRAME // 4, FRAME // 4, generator=generator.manual_seed(1))
        logits.requires_grad_()
        graph = colour_edges(images, batch.valid, batch.lowest(spec.bottom_rows), 4, spec)
        loss = pairwise_loss(logits, rectangles, image, graph, spec)
        loss.backward()
        found.append((loss.detach(), logits.grad, supervised_edges(rectangles, image, graph, spec)))
        cells = batch.valid[image][:, 2::4, 2::4]
        if edges == "any":
            assert not logits.grad[~cells].any()
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
    assert far.any() and found[0][2].sum() > 0


def test_of_several_frames_one_is_drawn_an_image(shapes, recipe):
    sides = set()
    for (batch,) in islice(train_batches(jitter(recipe, short_side=(32, 64), batch=2), shapes), 20):
        height, width = batch.images.shape[2:]
        assert height == width and max(max(size) for size in batch.sizes) <= height
        sides.add(height)
    assert sides == {32, 64}


def test_methods_that_crop_have_no_jitter():
    tree = {"method": "baiseg", "baiseg": {}, "model": {"head": "baiseg"}, "data": {"augment": SCALE_JITTER}}
    with pytest.raises(ValueError, match="'scale_jitter': method 'baiseg' learns from image crops"):
        Recipe.model_validate(tree, strict=False)
    plan = make_plan("mini", overrides={"data.augment": SCALE_JITTER})
    assert {run.recipe.method for run in plan.runs.values()} >= {"boxinst", "sim", "mask_rcnn"}
    assert not any(run.recipe.method == "baiseg" for run in plan.runs.values())
