"""SIM's copy-paste against a slow formulation: pixels, boxes and masks one by one, objects last to first."""

from collections import Counter
from itertools import islice, permutations, product
from math import floor

import numpy as np
import pytest
import torch

from tests.methods.sim.toy import sim_recipe
from wsis.data.loading import train_batches
from wsis.data.structures import PADDING, Batch, Targets
from wsis.errors import WsisError
from wsis.losses.projection import grid_rectangles
from wsis.methods.sim import paste
from wsis.methods.sim.bank import Bank, Entry, entries, pack, unpack
from wsis.methods.sim.paste import Composite, compose, draw_objects
from wsis.methods.sim.spec import SimSpec

FRAME = 32


def spec(**overrides) -> SimSpec:
    paper = {"share": 0.25, "replacement": False, "power": 1.0, "paste_boxes": "source", "visible": 0.1}
    return SimSpec(**(paper | {"paste_probability": 1.0} | overrides))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def target(size: tuple[int, int], boxes: list, seed: int = 0, images: int = 1) -> Batch:
    """`images` times the same objects on different random pictures of h x w = `size`, padded."""
    valid = torch.zeros(images, FRAME, FRAME, dtype=torch.bool)
    valid[:, : size[0], : size[1]] = True
    pixels = torch.randint(0, 256, (images, 3, FRAME, FRAME), generator=generator(seed), dtype=torch.uint8)
    padding = torch.tensor(PADDING, dtype=torch.uint8)[:, None, None]
    own = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    targets = [Targets(own.clone(), 10 + torch.arange(len(own))) for _ in range(images)]
    return Batch(
        torch.where(valid[:, None], pixels, padding), valid, torch.ones(images), targets, list(range(images))
    )


def source(size: tuple[int, int], masks: torch.Tensor, stride: int, seed: int = 1) -> Entry:
    """An entry of h x w = `size` with these masks (N x rows x columns); boxes reach half a cell further."""
    image = torch.randint(0, 256, (3, *size), generator=generator(seed), dtype=torch.uint8)
    boxes = []
    for mask in masks.numpy():
        y, x = np.nonzero(mask)
        boxes.append([x.min() - 0.5, y.min() - 0.5, x.max() + 1.5, y.max() + 1.5])
    boxes = (torch.tensor(np.array(boxes), dtype=torch.float32) * stride).clamp(min=0)
    scores = torch.linspace(0.9, 0.6, len(masks))
    return Entry(image, boxes, torch.arange(len(masks)), pack(masks), scores, tuple(masks.shape[1:]))


def rectangle(rows: int, columns: int, *boxes: tuple[int, int, int, int]) -> torch.Tensor:
    """Masks that are rectangles x0, y0, x1, y1 of cells."""
    masks = torch.zeros(len(boxes), rows, columns, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


def pasted(batch: Batch, entry: Entry, stride: int, monkeypatch, order=None, **overrides) -> Composite:
    """The composite with a bank of that entry alone, whose objects are drawn in this order."""
    order = list(range(len(entry.scores))) if order is None else order
    monkeypatch.setattr(paste, "draw_objects", lambda *_: torch.tensor(order))
    bank = Bank(1)
    bank.push(entry)
    return compose(batch, bank, spec(**overrides), stride, generator())


def enlarged(mask: np.ndarray, y: int, x: int, stride: int) -> bool:
    """Whether pixel (y, x) is in the mask: bilinear between cell centres, at least a half."""
    value, parts = 0.0, []
    for place, cells in ((y, mask.shape[0]), (x, mask.shape[1])):
        at = min(max((place + 0.5) / stride - 0.5, 0), cells - 1)
        low = min(floor(at), cells - 1)
        parts.append([(low, 1 - (at - low)), (min(low + 1, cells - 1), at - low)])
    for (row, a), (column, b) in product(*parts):
        value += a * b * mask[row, column]
    return value >= 0.5


def slow(batch: Batch, entry: Entry, order: list[int], stride: int, visible: float, tight: bool):
    """Image, boxes, labels, flags and masks of the only image of a batch, pixel by pixel."""
    height, width = batch.valid[0].nonzero().amax(0).add(1).tolist()
    rows, columns = entry.image.shape[1:]
    masks = unpack(entry.masks, entry.size).numpy()
    lit = {
        k: {(y, x) for y in range(rows) for x in range(columns) if enlarged(masks[k], y, x, stride)}
        for k in set(order)
    }
    cells = {k: set(zip(*np.nonzero(masks[k]), strict=True)) for k in set(order)}
    kept = []  # (object, its visible pixels, its visible cells), last drawn first
    for k in reversed(order):
        if any(y >= height or x >= width for y, x in lit[k]):
            continue
        others = [j for j, _, _ in kept if j != k]
        shown = cells[k].difference(*(cells[j] for j in others))
        if len(shown) >= 4:
            kept.append((k, lit[k].difference(*(lit[j] for j in others)), shown))
    kept.reverse()
    covered = set().union(*(lit[k] for k, _, _ in kept))

    image = batch.images[0].clone()
    for y, x in covered:
        image[:, y, x] = entry.image[:, y, x]
    boxes, labels = [], []
    for box, label in zip(batch.targets[0].boxes.tolist(), batch.targets[0].labels.tolist(), strict=True):
        x0, y0, x1, y1 = box
        inside = [
            (y, x) for y in range(height) for x in range(width) if x0 <= x + 0.5 < x1 and y0 <= y + 0.5 < y1
        ]
        left = [p for p in inside if p not in covered]
        if not left or len(left) < visible * len(inside):
            continue
        for side, (axis, best, shift) in enumerate([(1, min, 0), (0, min, 0), (1, max, 1), (0, max, 1)]):
            before, after = (best(p[axis] for p in part) + shift for part in (inside, left))
            if before != after:
                box[side] = after
        boxes.append(box)
        labels.append(label)
    flags = [False] * len(boxes) + [True] * len(kept)
    grid = np.zeros((len(flags), FRAME // stride, FRAME // stride), bool)
    for row, (k, pixels, shown) in enumerate(kept, len(boxes)):
        for y, x in shown:
            grid[row, y, x] = True
        if tight:
            ys, xs = zip(*pixels, strict=True)
            boxes.append([min(xs), min(ys), max(xs) + 1, max(ys) + 1])
        else:
            x0, y0, x1, y1 = entry.boxes[k].tolist()
            boxes.append([x0, y0, min(x1, width), min(y1, height)])
        labels.append(int(entry.labels[k]))
    return image, boxes, labels, flags, grid


def blobs(seed: int, count: int, rows: int, columns: int) -> torch.Tensor:
    """Ragged masks: noisy rectangles, each with at least one cell."""
    g = np.random.default_rng(seed)
    masks = np.zeros((count, rows, columns), bool)
    for mask in masks:
        y, x = g.integers(0, rows - 2), g.integers(0, columns - 2)
        h, w = g.integers(2, rows), g.integers(2, columns)
        mask[y : y + h, x : x + w] = g.random(mask[y : y + h, x : x + w].shape) < 0.85
        mask[y, x] = True
    return torch.from_numpy(masks)


@pytest.mark.parametrize("seed", range(24))
def test_composite_equals_the_slow_formulation(seed, monkeypatch):
    """Sources larger and smaller than the target, ragged masks, several draws, both strides and box rules."""
    g = np.random.default_rng(100 + seed)
    stride, tight = (2, 4)[seed % 2], seed % 3 == 0
    size, own = (tuple(g.integers(17, FRAME + 1, 2).tolist()) for _ in range(2))
    low = g.random((4, 2)) * 12
    boxes = np.concatenate([low, np.minimum(low + 2 + g.random((4, 2)) * 16, size[::-1])], 1).tolist()
    batch = target(size, boxes, seed)
    entry = source(own, blobs(seed, 4, -(-own[0] // stride), -(-own[1] // stride)), stride, seed + 50)
    order = g.permutation(4)[:3].tolist() if seed % 4 else [1, 0, 1]
    box_rule = "tight" if tight else "source"
    result = pasted(batch, entry, stride, monkeypatch, order, visible=0.3, paste_boxes=box_rule)
    image, boxes, labels, flags, grid = slow(batch, entry, order, stride, 0.3, tight)
    assert torch.equal(result.batch.images[0], image)
    assert result.batch.targets[0].labels.tolist() == labels
    torch.testing.assert_close(result.batch.targets[0].boxes, torch.tensor(boxes).reshape(-1, 4).float())
    assert result.pasted[0].tolist() == flags and result.touched.tolist() == [any(flags)]
    assert np.array_equal(result.masks[0].numpy(), grid)


def test_an_image_in_a_batch_gets_what_it_gets_alone(monkeypatch):
    """Other sizes, objects and numbers of them beside it make no difference."""
    entry = source((28, 30), rectangle(14, 15, (2, 2, 9, 8), (6, 5, 12, 12)), 2)
    scenes = [
        ((32, 32), [[2, 2, 20, 12], [10, 8, 26, 18]]),
        ((30, 20), [[3, 1, 9, 14]]),
        ((24, 32), []),
        ((32, 28), [[6, 6, 12, 12], [0, 0, 28, 32], [20, 20, 28, 28]]),
    ]
    alone = [target(size, boxes, seed) for seed, (size, boxes) in enumerate(scenes)]
    together = Batch(
        torch.cat([b.images for b in alone]),
        torch.cat([b.valid for b in alone]),
        torch.ones(4),
        [b.targets[0] for b in alone],
        [0, 1, 2, 3],
    )
    whole = pasted(together, entry, 2, monkeypatch)
    for index, batch in enumerate(alone):
        single = pasted(batch, entry, 2, monkeypatch)
        assert torch.equal(whole.batch.images[index], single.batch.images[0])
        assert torch.equal(whole.batch.targets[index].boxes, single.batch.targets[0].boxes)
        assert torch.equal(whole.batch.targets[index].labels, single.batch.targets[0].labels)
        assert torch.equal(whole.masks[index], single.masks[0])
        assert torch.equal(whole.pasted[index], single.pasted[0])
        assert whole.touched[index] == single.touched[0]
    assert [sum(f.tolist()) for f in whole.pasted] == [2, 1, 2, 2]


def test_padding_valid_and_the_given_batch_stay_as_they_are(monkeypatch):
    batch = target((20, 26), [[2, 2, 12, 12], [14, 8, 24, 18]])
    before = target((20, 26), [[2, 2, 12, 12], [14, 8, 24, 18]])
    entry = source((32, 32), rectangle(16, 16, (0, 0, 13, 10)), 2)  # up to the frame's corner
    result = pasted(batch, entry, 2, monkeypatch)
    assert result.touched.tolist() == [True]
    outside = ~batch.valid[0]
    assert torch.equal(result.batch.images[0][:, outside], before.images[0][:, outside])
    assert torch.equal(result.batch.images[0][:, ~outside], entry.image[:, :20, :26].flatten(1))
    assert torch.equal(result.batch.valid, before.valid) and result.batch.ids == before.ids
    assert torch.equal(batch.images, before.images)
    assert torch.equal(batch.targets[0].boxes, before.targets[0].boxes)


def test_an_object_that_covers_everything_leaves_only_itself(monkeypatch):
    batch = target((32, 32), [[0, 0, 32, 32], [4, 4, 9, 9]])
    entry = source((32, 32), rectangle(8, 8, (0, 0, 8, 8)), 4)
    for visible in (0.0, 0.1):
        result = pasted(batch, entry, 4, monkeypatch, visible=visible)
        assert torch.equal(result.batch.images[0], entry.image)
        assert result.batch.targets[0].boxes.tolist() == [[0, 0, 32, 32]]
        assert result.pasted[0].tolist() == [True] and result.masks[0].all()


def test_an_image_without_objects_gets_pasted_ones(monkeypatch):
    result = pasted(target((32, 32), []), source((32, 32), rectangle(8, 8, (1, 2, 5, 6)), 4), 4, monkeypatch)
    assert result.pasted[0].tolist() == [True] and result.batch.targets[0].labels.tolist() == [0]
    assert result.masks[0].nonzero().amin(0).tolist() == [0, 2, 1]


def test_without_a_paste_there_are_flags_and_masks_of_the_right_size():
    batch = target((32, 32), [[2, 2, 12, 12], [14, 8, 24, 18]], images=2)
    batch.targets[1] = Targets(batch.targets[1].boxes[:0], batch.targets[1].labels[:0])
    result = compose(batch, Bank(2), spec(), 4, generator())
    assert result.batch is batch and not result.touched.any()
    assert [m.shape for m in result.masks] == [(2, 8, 8), (0, 8, 8)]
    assert [f.tolist() for f in result.pasted] == [[False, False], []]


def test_nothing_is_pasted_before_the_bank_is_full():
    batch, bank = target((32, 32), [[2, 2, 12, 12]]), Bank(2)
    entry = source((32, 32), rectangle(8, 8, (1, 2, 5, 6)), 4)
    for full in (False, False, True):
        result = compose(batch, bank, spec(), 4, generator())
        assert result.touched.tolist() == [full] and (result.batch is batch) == (not full)
        bank.push(entry)


def test_an_object_cut_by_the_frame_is_left_out_and_others_are_not(monkeypatch):
    entry = source((32, 32), rectangle(16, 16, (2, 2, 6, 6), (8, 2, 14, 6)), 2)
    result = pasted(target((32, 27), []), entry, 2, monkeypatch)  # column 27 is the first outside
    assert result.batch.targets[0].labels.tolist() == [0]
    result = pasted(target((32, 28), []), entry, 2, monkeypatch)
    assert result.batch.targets[0].labels.tolist() == [0, 1]
    assert result.batch.targets[0].boxes[1].tolist() == [15, 3, 28, 13]  # its box is cut, its mask isn't
    assert not pasted(target((32, 15), []), entry, 2, monkeypatch, order=[1]).touched.any()


def test_fewer_than_four_cells_are_left_out(monkeypatch):
    entry = source((32, 32), rectangle(16, 16, (2, 2, 5, 3), (8, 2, 10, 4)), 2)
    assert pasted(target((32, 32), []), entry, 2, monkeypatch).batch.targets[0].labels.tolist() == [1]


def test_what_is_pasted_later_covers_what_was_pasted_earlier(monkeypatch):
    entry = source((32, 32), rectangle(8, 8, (1, 1, 5, 5), (3, 1, 7, 5), (4, 1, 7, 5)), 4)
    result = pasted(target((32, 32), []), entry, 4, monkeypatch, order=[0, 1])
    assert result.masks[0].sum((1, 2)).tolist() == [8, 16]
    result = pasted(target((32, 32), []), entry, 4, monkeypatch, order=[1, 0])
    assert result.masks[0].sum((1, 2)).tolist() == [8, 16]
    assert not (result.masks[0][0] & result.masks[0][1]).any()
    gone = pasted(target((32, 32), []), entry, 4, monkeypatch, order=[2, 1])
    assert gone.batch.targets[0].labels.tolist() == [1]  # nothing of object 2 shows
    left = pasted(target((32, 32), []), entry, 4, monkeypatch, order=[1, 2], paste_boxes="tight")
    assert left.batch.targets[0].boxes[0, 2] <= 17  # S17: around what shows


def test_originals_are_trimmed_or_removed_by_what_shows_of_their_box(monkeypatch):
    boxes = [[2.3, 3.1, 17.6, 14.2], [8.2, 4, 15.8, 15.9], [20.5, 2.2, 30, 9.7]]
    entry = source((32, 32), rectangle(16, 16, (4, 0, 16, 16)), 2)
    result = pasted(target((32, 32), boxes), entry, 2, monkeypatch, visible=0.1)
    first = torch.tensor([2.3, 3.1, 8.0, 14.2])  # only the side that lost pixels moves
    assert torch.allclose(result.batch.targets[0].boxes[0], first)
    assert result.batch.targets[0].labels.tolist() == [10, 0]
    share = 6 / 16  # columns 2 to 7 of 2 to 17
    for visible, stays in ((share - 0.01, True), (share + 0.01, False)):
        result = pasted(target((32, 32), boxes[:1]), entry, 2, monkeypatch, visible=visible)
        assert (10 in result.batch.targets[0].labels.tolist()) == stays


def test_the_same_generator_gives_the_same_composite():
    bank = Bank(4)
    for seed in range(4):
        bank.push(source((32, 30), blobs(seed, 5, 16, 15), 2, seed))
    batch = target((30, 32), [[2, 2, 12, 12], [14, 8, 24, 18]], images=6)
    seen = []
    for seed in (0, 0, 1):
        result = compose(batch, bank, spec(share=0.6, paste_probability=0.5), 2, generator(seed))
        boxes = torch.cat([t.boxes for t in result.batch.targets])
        seen.append((result.batch.images, boxes, torch.cat(result.masks), torch.cat(result.pasted)))
    assert all(torch.equal(a, b) for a, b in zip(seen[0], seen[1], strict=True))
    assert not torch.equal(seen[0][0], seen[2][0])


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_images_are_chosen_with_the_given_probability_each_with_its_own_entry(probability):
    bank = Bank(2)
    for seed in range(2):
        bank.push(source((32, 32), rectangle(8, 8, (1, 1, 5, 5)), 4, seed))
    result = compose(
        target((32, 32), [], images=400), bank, spec(paste_probability=probability), 4, generator()
    )
    assert (
        abs(result.touched.sum() - 400 * probability) <= 4.5 * (400 * probability * (1 - probability)) ** 0.5
    )
    if probability == 1.0:
        first = (result.batch.images[:, :, 8, 8] == bank.entries[0].image[:, 8, 8]).all(1).sum()
        assert 150 < first < 250


@pytest.mark.parametrize(
    ("replacement", "share", "counts"),
    [
        (False, 0.25, {1: 1, 4: 1, 5: 2, 8: 2, 9: 3, 40: 3}),  # a quarter, rounded up, 1 to 3
        (True, 0.5, {1: 1, 3: 1, 4: 2, 5: 2, 6: 3, 40: 3}),  # S14: half, rounded down
        (False, 0.1, {30: 3, 20: 2, 10: 1, 11: 2}),  # .1 x 30 is more than 3 in binary
    ],
)
def test_how_many_objects_are_drawn(replacement, share, counts):
    own = spec(replacement=replacement, share=share)
    assert {n: len(draw_objects(torch.ones(n), own, generator())) for n in counts} == counts


def frequencies(own: SimSpec, scores: list[float], draws: int = 12000) -> dict[tuple[int, ...], float]:
    g = generator(5)
    drawn = Counter(tuple(draw_objects(torch.tensor(scores), own, g).tolist()) for _ in range(draws))
    return {key: count / draws for key, count in drawn.items()}


def close(found: dict, exact: dict, draws: int = 12000) -> bool:
    errors = [abs(found.get(k, 0) - p) / (p * (1 - p) / draws) ** 0.5 for k, p in exact.items()]
    return found.keys() <= exact.keys() and max(errors) < 4.5


def test_importance_sampling_without_replacement():
    """Two of three objects one after the other, each draw in proportion to the scores that are left."""
    scores = [0.9, 0.5, 0.1]
    total = sum(scores)
    exact = {
        (i, j): scores[i] / total * scores[j] / (total - scores[i]) for i, j in permutations(range(3), 2)
    }
    assert abs(sum(exact.values()) - 1) < 1e-9
    assert close(frequencies(spec(share=0.5), scores), exact)


def test_importance_sampling_as_released():
    """S14: in proportion to S^3, with replacement."""
    scores = [0.9, 0.6, 0.5]
    weights = [s**3 / sum(t**3 for t in scores) for s in scores]
    exact = {(i, j): weights[i] * weights[j] for i, j in product(range(3), repeat=2)}
    assert close(frequencies(spec(share=0.7, replacement=True, power=3.0), scores), exact)


def test_an_object_drawn_twice_is_two_equal_targets(monkeypatch):
    """S14: as in the released code; neither copy covers the other."""
    entry = source((32, 32), rectangle(8, 8, (1, 1, 5, 5)), 4)
    result = pasted(target((32, 32), []), entry, 4, monkeypatch, order=[0, 0], replacement=True)
    boxes, masks = result.batch.targets[0].boxes, result.masks[0]
    assert len(boxes) == 2 and torch.equal(boxes[0], boxes[1]) and torch.equal(masks[0], masks[1])
    assert result.pasted[0].tolist() == [True, True] and masks[0].sum() == 16


def test_box_of_a_pasted_object(monkeypatch):
    """S17: the source's box, or the tight box of the pasted pixels."""
    entry = source((32, 32), rectangle(8, 8, (1, 2, 5, 6)), 4)
    for rule, box in (("source", [2, 6, 22, 26]), ("tight", [4, 8, 20, 24])):
        result = pasted(target((32, 32), []), entry, 4, monkeypatch, paste_boxes=rule)
        assert result.batch.targets[0].boxes.tolist() == [box]


def test_given_masks_are_refused():
    batch = target((32, 32), [[2, 2, 12, 12]])
    batch.targets[0].masks = torch.zeros(1, FRAME, FRAME, dtype=torch.bool)
    with pytest.raises(WsisError, match="boxes"):
        compose(batch, Bank(1), spec(), 4, generator())


def test_jittered_images_get_what_fits_into_them(shapes):
    """Sources and targets are of many sizes: nothing lands on padding, and no box leaves its image."""
    data = {"train": "train", "eval": "val", "augment": "scale_jitter", "short_side": (64,)}
    stream = train_batches(sim_recipe(data=data, schedule__batch=8), shapes)
    bank, pasted, bare = Bank(30), 0, 0
    for (batch,) in islice(stream, 14):
        composite = compose(batch, bank, spec(share=1.0), 4, generator(pasted))
        for i, ((height, width), own) in enumerate(zip(batch.sizes, composite.batch.targets, strict=True)):
            assert (own.boxes >= 0).all() and (own.boxes <= torch.tensor([width, height] * 2)).all()
            before, after = (each.images[i, :, ~batch.valid[i]] for each in (batch, composite.batch))
            assert torch.equal(before, after)
            assert not composite.masks[i][:, -(-height // 4) :].any()
            assert not composite.masks[i][:, :, -(-width // 4) :].any()
        pasted += int(torch.cat(composite.pasted).sum())
        bare += bank.full and int((~composite.touched).sum())
        cells = [grid_rectangles(own.boxes, 4, 16, 16) for own in batch.targets]
        masks = torch.stack([rectangle(16, 16, box)[0] for each in cells for box in each.tolist()])
        untouched = torch.zeros(8, dtype=torch.bool)
        for entry in entries(batch, masks, torch.ones(len(masks)), untouched, 4, spec()):
            bank.push(entry)
    assert pasted > 20 and bare > 5, "what is larger than the image is left out"
