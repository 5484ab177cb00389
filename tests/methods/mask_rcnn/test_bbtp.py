"""BBTP's mask loss against loops written from the paper's description."""

import math

import pytest
import torch

from tests.methods.mask_rcnn.test_method import build
from tests.methods.scenes import batch, generator
from wsis.data.structures import Targets
from wsis.methods.bbtp import SMOOTH, box_lines, neighbour_loss, tightness_loss


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


def slow_neighbours(logits):
    """Mean over ordered pairs of eight-connected cells, each unordered pair twice."""
    total = count = 0
    side = logits.shape[-1]
    for p in logits.double().sigmoid().tolist():
        for y in range(side):
            for x in range(side):
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        if (dy or dx) and 0 <= y + dy < side and 0 <= x + dx < side:
                            total += (p[y][x] - p[y + dy][x + dx]) ** 2
                            count += 1
    return total / count


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
    columns, rows = box_lines(boxes, rois, logits.shape[-1])
    assert columns.any(1).all() and rows.any(1).all()
    assert tightness_loss(logits, columns, rows).item() == pytest.approx(
        slow_tightness(logits, rois, boxes), rel=1e-5
    )
    assert neighbour_loss(logits).item() == pytest.approx(slow_neighbours(logits), rel=1e-5)


def test_the_box_filled_is_right_and_its_transpose_is_not():
    rois, boxes = torch.tensor([[0.0, 0, 16, 16]]), torch.tensor([[4.0, 2, 14, 16]])
    columns, rows = box_lines(boxes, rois, 8)
    assert columns[0].tolist() == [0, 0, 1, 1, 1, 1, 1, 0]
    assert rows[0].tolist() == [0, 1, 1, 1, 1, 1, 1, 1]
    filled = (rows[:, :, None] & columns[:, None, :]).float() * 40 - 20
    assert tightness_loss(filled, columns, rows) < 1e-6
    assert tightness_loss(filled.mT, columns, rows) > 1
    diagonal = torch.full((1, 8, 8), -20.0)  # one cell a line is enough
    diagonal[0, range(1, 8), [2, 3, 4, 5, 6, 6, 6]] = 20
    assert tightness_loss(diagonal, columns, rows) < 1e-6


def test_cells_of_crossing_lines_beside_the_box_do_not_count():
    logits, rois, boxes = scene(0)
    columns, rows = box_lines(boxes, rois, 8)
    inside = rows[:, :, None] & columns[:, None, :]
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(tightness_loss(logits, columns, rows), logits)
    assert (gradient[inside] <= 0).all()  # only pulled up
    assert (gradient[~inside] >= 0).all()  # only pushed down


def test_masks_are_not_read():
    net, drawn = build("bbtp").eval(), batch(masks="all")
    plain = [Targets(t.boxes, t.labels) for t in drawn.targets]
    losses = [
        net.losses(b, generator())
        for b in (drawn, type(drawn)(drawn.images, drawn.valid, drawn.scales, plain))
    ]
    assert {k: v.item() for k, v in losses[0].items()} == {k: v.item() for k, v in losses[1].items()}
    assert losses[0]["loss_mask"] > 0
    assert SMOOTH == 0.05
