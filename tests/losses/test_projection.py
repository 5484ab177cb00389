"""Projection and dice losses; box rectangles on the mask grid."""

import pytest
import torch
import torch.nn.functional as F

from wsis.losses.dice import dice_loss
from wsis.losses.projection import grid_masks, grid_rectangles, projection_loss


def box_mask(rectangle, height, width):
    mask = torch.zeros(height, width)
    x0, y0, x1, y1 = rectangle
    mask[y0:y1, x0:x1] = 1
    return mask


def test_equals_the_equation_written_out():
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 11, 9, generator=g)
    rectangles = torch.tensor([[0, 0, 9, 11], [2, 3, 5, 4], [8, 10, 9, 11], [1, 1, 7, 8]])
    for n, value in enumerate(projection_loss(logits, rectangles)):
        m, b = logits[n].sigmoid(), box_mask(rectangles[n], 11, 9)
        expected = 0
        for axis in (0, 1):
            x, t = m.max(axis).values, b.max(axis).values
            expected += 1 - 2 * (x * t).sum() / ((x**2).sum() + (t**2).sum() + 1e-5)
        torch.testing.assert_close(value, expected)


def test_any_mask_with_the_boxs_shadows_is_perfect():
    rectangle = torch.tensor([[2, 1, 8, 6]])
    cross = torch.full((1, 10, 10), -30.0)
    cross[0, 1:6, 4] = 30
    cross[0, 3, 2:8] = 30
    assert projection_loss(cross, rectangle).item() < 1e-5
    cross[0, 9, 4] = 30  # a pixel outside the box
    assert projection_loss(cross, rectangle).item() > 0.05


def test_flip_and_transpose_equivariance():
    logits = torch.randn(3, 8, 12, generator=torch.Generator().manual_seed(1))
    rectangles = torch.tensor([[0, 0, 4, 5], [3, 2, 12, 8], [5, 5, 6, 6]])
    mirrored = torch.stack(
        [12 - rectangles[:, 2], rectangles[:, 1], 12 - rectangles[:, 0], rectangles[:, 3]], 1
    )
    straight = projection_loss(logits, rectangles)
    torch.testing.assert_close(straight, projection_loss(logits.flip(2), mirrored))
    torch.testing.assert_close(straight, projection_loss(logits.mT, rectangles[:, [1, 0, 3, 2]]))


def test_gradient_by_finite_differences():
    logits = torch.randn(2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    rectangles = torch.tensor([[1, 1, 4, 4], [0, 2, 6, 5]])
    x = logits.clone().requires_grad_()
    projection_loss(x, rectangles).sum().backward()
    for index in [tuple(i) for i in x.grad.nonzero().tolist()]:
        moved = [logits.clone(), logits.clone()]
        moved[0][index] -= 1e-3
        moved[1][index] += 1e-3
        low, high = (projection_loss(m, rectangles).sum().item() for m in moved)
        assert x.grad[index].item() == pytest.approx((high - low) / 2e-3, abs=2e-3)
    # Each row and each column of each instance passes its gradient to its maximum only.
    assert (x.grad != 0).sum() <= 2 * (5 + 6)


def test_no_instances():
    assert projection_loss(torch.zeros(0, 4, 4), torch.zeros(0, 4, dtype=torch.long)).shape == (0,)


def test_rectangles_cover_the_cells_whose_centre_lies_in_the_box():
    g = torch.Generator().manual_seed(3)
    for stride in (2, 4, 8):
        low = torch.rand(200, 2, generator=g) * 60
        boxes = torch.cat([low, low + 1 + torch.rand(200, 2, generator=g) * 60], 1)
        height, width = 96 // stride, 80 // stride
        for box, rectangle in zip(boxes, grid_rectangles(boxes, stride, height, width), strict=True):
            centres = torch.arange(max(height, width)) * stride + stride / 2
            xs = [i for i in range(width) if box[0] <= centres[i] < box[2]]
            ys = [i for i in range(height) if box[1] <= centres[i] < box[3]]
            x0, y0, x1, y1 = rectangle.tolist()
            assert 0 <= x0 < x1 <= width
            assert 0 <= y0 < y1 <= height
            if xs:
                assert (x0, x1) == (xs[0], xs[-1] + 1)
            if ys:
                assert (y0, y1) == (ys[0], ys[-1] + 1)


def test_dice_extremes():
    mask = torch.tensor([[1.0, 0, 1, 1]])
    assert dice_loss(mask, mask).item() == pytest.approx(0, abs=1e-4)
    assert dice_loss(1 - mask, mask).item() == pytest.approx(1)
    assert dice_loss(torch.zeros(1, 4), torch.zeros(1, 4)).item() == pytest.approx(1)


def test_grid_masks_are_unbiased():
    """A mask brought to the grid and back by inference's resizing stays where it was."""
    g = torch.Generator().manual_seed(4)
    shifts = []
    for stride in (2, 4):
        for _ in range(40):
            x0, y0 = torch.randint(8, 40, (2,), generator=g).tolist()
            w, h = torch.randint(20, 50, (2,), generator=g).tolist()
            mask = torch.zeros(1, 96, 96, dtype=torch.bool)
            mask[0, y0 : y0 + h, x0 : x0 + w] = True
            cells = grid_masks(mask, stride)
            back = F.interpolate(cells[None].float(), scale_factor=stride, mode="bilinear")[0, 0] > 0.5
            y, x = (t.float().mean() + 0.5 for t in back.nonzero().T)
            shifts.append((x - x0 - w / 2, y - y0 - h / 2))
            assert grid_rectangles(
                torch.tensor([[x0, y0, x0 + w, y0 + h]]).float(), stride, 48, 48
            ).shape == (1, 4)
    assert torch.tensor(shifts).mean(0).abs().max() < 0.2
