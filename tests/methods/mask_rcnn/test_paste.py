"""Pasting of RoI masks and their targets against loops over pixels."""

import numpy as np
import pytest
import torch
from pycocotools import mask as rle

from wsis.methods.encode import box_masks
from wsis.methods.mask_rcnn import paste
from wsis.methods.mask_rcnn.roi_heads import roi_targets


def interpolated(grid: np.ndarray, x: float, y: float) -> float:
    """Bilinear value at x, y, in cells from the first centre; constant beyond the outermost centres."""
    side = len(grid)
    x, y = min(max(x, 0), side - 1), min(max(y, 0), side - 1)
    x0, y0 = min(int(x), side - 2), min(int(y), side - 2)
    u, v = x - x0, y - y0
    top = grid[y0, x0] * (1 - u) + grid[y0, x0 + 1] * u
    bottom = grid[y0 + 1, x0] * (1 - u) + grid[y0 + 1, x0 + 1] * u
    return top * (1 - v) + bottom * v


def slow_paste(logits: torch.Tensor, box: list[float], size: tuple[int, int]) -> np.ndarray:
    x0, y0, x1, y1 = box
    grid, side = logits.double().sigmoid().numpy(), len(logits)
    full = np.zeros(size, bool)
    for row in range(size[0]):
        for column in range(size[1]):
            x, y = column + 0.5, row + 0.5
            if x0 <= x < x1 and y0 <= y < y1:
                cell = ((x - x0) / (x1 - x0) * side - 0.5, (y - y0) / (y1 - y0) * side - 0.5)
                full[row, column] = interpolated(grid, *cell) > 0.5
    return full


def test_paste_equals_a_loop_over_pixels(monkeypatch):
    monkeypatch.setattr(paste, "CHUNK", 2 * 20 * 30)  # two masks at a time
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 6, 6, generator=g)
    boxes = torch.tensor([
        [2.0, 3.0, 14.0, 15.0], [0.3, 0.2, 29.7, 19.9], [25.5, 10.1, 30.0, 20.0], [4.6, 4.6, 5.4, 5.4],
        [-3.0, -2.0, 8.0, 25.0],
    ])  # fmt: skip
    for mask, logit, box in zip(paste.paste_masks(logits, boxes, (20, 30)), logits, boxes, strict=True):
        assert (rle.decode(mask).astype(bool) == slow_paste(logit, box.tolist(), (20, 30))).all()


def test_paste_of_whole_boxes_and_of_nothing():
    boxes = torch.tensor([[2.0, 3.0, 14.0, 15.0], [5.6, 5.6, 6.4, 6.4]])
    filled, point = paste.paste_masks(torch.full((2, 4, 4), 9.0), boxes, (20, 30))
    expected = np.zeros((20, 30), bool)
    expected[3:15, 2:14] = True
    assert (rle.decode(filled).astype(bool) == expected).all()
    assert rle.area(point) == 0  # no pixel centre lies in it: an empty mask, not a missing one
    assert paste.paste_masks(torch.zeros(0, 4, 4), torch.zeros(0, 4), (20, 30)) == []
    assert box_masks(torch.zeros(0, 4), (20, 30)) == []
    (box,) = box_masks(boxes[:1], (20, 30))
    assert (rle.decode(box).astype(bool) == expected).all()


@pytest.mark.parametrize("side", [4, 8])
def test_targets_are_the_covered_share_and_paste_back_to_the_mask(side):
    masks = torch.zeros(3, 32, 32, dtype=torch.bool)
    masks[0, 8:16, 4:12] = True
    masks[2, 4:20, 4:12] = True
    rois = torch.tensor([[4.0, 4.0, 20.0, 20.0], [4.0, 4.0, 20.0, 20.0], [4.0, 8.0, 12.0, 16.0]])
    owners = torch.tensor([2, 0, 0])
    found = roi_targets(masks, rois, owners, side)
    left = torch.zeros(side, side)
    left[:, : side // 2] = 1
    inner = (slice(None), slice(0, side // 2 - 1))  # away from the boundary interpolation changes nothing
    torch.testing.assert_close(found[0][inner], left[inner])
    torch.testing.assert_close(found[2], torch.ones(side, side), atol=0.5, rtol=0)
    pasted = paste.paste_masks(found * 20 - 10, rois, (32, 32))
    assert (rle.decode(pasted[0]).astype(bool) == masks[2].numpy()).all()
    assert rle.iou([pasted[1]], [rle.encode(np.asfortranarray(masks[0].byte().numpy()))], [0]).item() > 0.85


def test_detectron2s_masks_fall_off_beyond_the_outermost_cells():
    """A full mask of 2 x 2 cells in a box of 8 x 8 pixels: half a cell outside, probability is half."""
    boxes = torch.tensor([[4.0, 4.0, 12.0, 12.0]])
    sure, doubtful = (torch.full((1, 2, 2), logit) for logit in (20.0, 0.5))
    whole = rle.decode(paste.paste_masks(sure, boxes, (16, 16), padded=True))[:, :, 0]
    assert whole.sum() == 60 and whole[4:12, 4:12].sum() == 60, "at the corners it is a quarter"
    inner = rle.decode(paste.paste_masks(doubtful, boxes, (16, 16), padded=True))[:, :, 0]
    assert inner.sum() < 64 == rle.decode(paste.paste_masks(doubtful, boxes, (16, 16)))[:, :, 0].sum()
