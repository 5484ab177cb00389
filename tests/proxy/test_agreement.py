"""Box agreement against counts of pixels, the released convention's known values, and the drop rule."""

import numpy as np
import pytest

from wsis.proxy.agreement import agreements, dropped


def agreement(rle, bbox, convention):
    return agreements([rle], np.array([bbox]), convention)[0]


def by_pixel(mask, bbox, inclusive):
    """IoU of two boxes as sets of pixels; the given box has one more row and column if inclusive."""
    cells = np.argwhere(mask)
    if len(cells) == 0:
        return 0.0
    (y0, x0), (y1, x1) = cells.min(0), cells.max(0)
    tight = {(x, y) for x in range(x0, x1 + 1) for y in range(y0, y1 + 1)}
    x, y, w, h = (int(v) for v in bbox)
    given = {(x + i, y + j) for i in range(w + inclusive) for j in range(h + inclusive)}
    return len(tight & given) / len(tight | given)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("convention", ["exact", "plus_one"])
def test_equals_sets_of_pixels(scene_of, rle_of, seed, convention):
    masks, bboxes = scene_of(seed)
    values = agreements([rle_of(m) for m in masks], bboxes, convention)
    expected = [by_pixel(m, b, int(convention == "plus_one")) for m, b in zip(masks, bboxes, strict=True)]
    assert values == pytest.approx(expected)
    one = [agreement(rle_of(m), b, convention) for m, b in zip(masks, bboxes, strict=True)]
    assert one == values.tolist()


@pytest.mark.parametrize(("threshold", "side"), [(0.75, 7), (0.85, 12), (0.90, 19), (0.95, 39)])
def test_the_smallest_square_that_can_pass_as_released(rle_of, threshold, side):
    """A perfect mask of w x h pixels has w h / ((w + 1)(h + 1))."""
    for length in (side - 1, side):
        mask = np.zeros((60, 70), bool)
        mask[5 : 5 + length, 9 : 9 + length] = True
        value = agreement(rle_of(mask), [9, 5, length, length], "plus_one")
        assert value == pytest.approx(length**2 / (length + 1) ** 2)
        assert dropped(np.array([value]), threshold)[0] == (length < side)
        assert agreement(rle_of(mask), [9, 5, length, length], "exact") == 1


def test_a_box_of_one_pixel_an_empty_mask_and_a_mask_outside_its_box(rle_of):
    mask = np.zeros((8, 9), bool)
    mask[2, 3] = True
    for convention, value in (("exact", 1), ("plus_one", 0.25)):
        assert agreement(rle_of(mask), [3, 2, 1, 1], convention) == pytest.approx(value)
        assert agreement(rle_of(np.zeros((8, 9))), [0, 0, 1, 1], convention) == 0
        assert agreement(rle_of(mask), [6, 6, 2, 2], convention) == 0
        assert agreement(rle_of(mask), [3, 2, 0, 0], "exact") == 0
        assert agreements([], np.zeros((0, 4)), convention).shape == (0,)


def test_fractions_of_pixels(rle_of):
    mask = np.zeros((10, 10), bool)
    mask[0:4, 0:4] = True
    assert agreement(rle_of(mask), [0.5, 0, 3.5, 4], "exact") == pytest.approx(14 / 16)


def test_a_thin_cross_fills_its_box(rle_of):
    """So agreement is no lower bound of the mask IoU."""
    mask = np.zeros((21, 21), bool)
    mask[10] = mask[:, 10] = True
    assert agreement(rle_of(mask), [0, 0, 21, 21], "exact") == 1
    assert mask.mean() < 0.1


def test_dropping_is_strict_and_at_0_nothing_is_dropped():
    values = np.array([0.0, 0.5, 0.95, 0.950001])
    assert dropped(values, 0.95).tolist() == [True, True, True, False]
    for none in (0, 0.0, None):
        assert not dropped(values, none).any()
