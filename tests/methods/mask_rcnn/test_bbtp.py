"""BBTP's mask loss against loops written from the paper's description."""

import math

import pytest
import torch

from tests.methods.mask_rcnn.test_method import build
from tests.methods.scenes import batch, generator
from wsis.data.structures import Targets
from wsis.methods.bbtp.heads import box_cells


def slow_tightness(logits, rois, boxes):
    """-log of the best probability of each crossing line, -log(1 - it) of each line outside; their mean."""
    terms, side = [], logits.shape[-1]
    for p, roi, box in zip(logits.double().sigmoid().tolist(), rois.tolist(), boxes.tolist(), strict=True):
        centre_x = [roi[0] + (i + 0.5) * (roi[2] - roi[0]) / side for i in range(side)]
        centre_y = [roi[1] + (i + 0.5) * (roi[3] - roi[1]) / side for i in range(side)]
        columns = [i for i in range(side) if box[0] <= centre_x[i] < box[2]]
        rows = [i for i in range(side) if box[1] <= centre_y[i] < box[3]]
        for i in range(side):
            if i in rows:
                terms.append(-math.log(max(p[i][j] for j in columns)))
            else:
                terms.append(-math.log(1 - max(p[i])))
            if i in columns:
                terms.append(-math.log(max(p[j][i] for j in rows)))
            else:
                terms.append(-math.log(1 - max(p[j][i] for j in range(side))))
    return sum(terms) / len(terms)


def slow_smoothness(logits):
    """Squared differences to the eight neighbours of each cell, zeros around the grid; their mean."""
    total = count = 0
    side = logits.shape[-1]
    for p in logits.double().sigmoid().tolist():
        for y in range(side):
            for x in range(side):
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        if dy or dx:
                            inside = 0 <= y + dy < side and 0 <= x + dx < side
                            total += (p[y][x] - (p[y + dy][x + dx] if inside else 0)) ** 2
                            count += 1
    return total / count


def loss_of(logits, rois, boxes):
    """BBTP's mask loss of RoIs that belong to one image, each to the object of its number."""
    heads = build("bbtp").roi_heads
    return heads.mask_loss(logits, [rois], [torch.arange(len(rois))], [{"boxes": boxes}])


def rois_of(boxes, g):
    """Regions around the boxes that overlap them by more than half."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    jitter = (torch.rand(len(boxes), 4, generator=g) - 0.5) * 0.3
    return boxes + jitter * sizes.repeat(1, 2)


def scene(seed, number=5, side=8):
    g = torch.Generator().manual_seed(seed)
    low = torch.rand(number, 2, generator=g) * 40
    boxes = torch.cat([low, low + 10 + torch.rand(number, 2, generator=g) * 30], 1)
    return torch.randn(number, side, side, generator=g), rois_of(boxes, g), boxes


@pytest.mark.parametrize("seed", range(5))
def test_bags_and_smoothness_equal_loops(seed):
    logits, rois, boxes = scene(seed)
    expected = slow_tightness(logits, rois, boxes) + 0.05 * slow_smoothness(logits)
    assert loss_of(logits, rois, boxes).item() == pytest.approx(expected, rel=1e-5)
    owners = torch.tensor([4, 1])  # RoIs of two images, in another order than their objects
    split = build("bbtp").roi_heads.mask_loss(
        logits[[4, 1, 2]], [rois[owners], rois[2:3]], [owners, torch.tensor([0])],
        [{"boxes": boxes}, {"boxes": boxes[2:]}],
    )  # fmt: skip
    expected = [slow(*(x[[4, 1, 2]] for x in given)) for slow, given in
                ((slow_tightness, (logits, rois, boxes)), (slow_smoothness, (logits,)))]  # fmt: skip
    assert split.item() == pytest.approx(expected[0] + 0.05 * expected[1], rel=1e-5)


def test_the_box_filled_is_right_and_its_transpose_is_not():
    rois, boxes = torch.tensor([[0.0, 0, 16, 16]]), torch.tensor([[4.0, 2, 14, 16]])
    cells = box_cells(boxes, rois, 8)
    assert cells[0].any(0).tolist() == [0, 0, 1, 1, 1, 1, 1, 0]
    assert cells[0].any(1).tolist() == [0, 1, 1, 1, 1, 1, 1, 1]
    filled = cells.float() * 40 - 20
    assert loss_of(filled, rois, boxes) < 0.05  # smoothness alone
    assert loss_of(filled.mT, rois, boxes) > 1
    diagonal = torch.full((1, 8, 8), -20.0)  # one cell a line is enough
    diagonal[0, range(1, 8), [2, 3, 4, 5, 6, 6, 6]] = 20
    assert loss_of(diagonal, rois, boxes) < 0.05


def test_cells_outside_the_box_are_never_pulled_up():
    logits, rois, boxes = scene(0)
    logits = (logits * 0.01).requires_grad_()  # the smoothness term is nearly nothing
    (gradient,) = torch.autograd.grad(loss_of(logits, rois, boxes), logits)
    inside = box_cells(boxes, rois, 8)
    strong = gradient.abs() > 0.003
    assert strong.sum() > 20
    assert (gradient[strong & inside] < 0).all()
    assert (gradient[strong & ~inside] > 0).all()


def test_masks_are_not_read():
    net, drawn = build("bbtp").eval(), batch(masks="all")
    plain = [Targets(t.boxes, t.labels) for t in drawn.targets]
    losses = [
        net.losses(b, generator())
        for b in (drawn, type(drawn)(drawn.images, drawn.valid, drawn.scales, plain))
    ]
    assert {k: v.item() for k, v in losses[0].items()} == {k: v.item() for k, v in losses[1].items()}
    assert losses[0]["loss_mask"] > 0
