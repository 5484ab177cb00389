"""Pixels of tiles: sizes, places, colours of masks, and words that stay off each other."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from wsis.pictures import canvas


def test_pixels_that_are_enlarged_stay_equal_squares():
    board = np.indices((8, 8)).sum(0) % 2
    pixels = np.repeat((board * 255).astype(np.uint8)[..., None], 3, -1)
    square, place = canvas.fitted(pixels, 40)
    assert np.array_equal(np.asarray(square)[..., 0], np.kron(pixels[..., 0], np.ones((5, 5), np.uint8)))
    assert place((1, 2, 3, 8)) == (5, 10, 15, 40)


def test_a_wide_picture_is_centred_and_boxes_go_with_it():
    square, place = canvas.fitted(np.zeros((100, 200, 3), np.uint8), 50)
    assert square.size == (50, 50)
    assert place((0, 0, 200, 100)) == (0, 12, 50, 37)
    assert np.asarray(square)[12:37].max() == 0 and np.asarray(square)[:12].min() > 200


@pytest.mark.parametrize("box", [(0, 0, 10, 10), (600, 300, 640, 420), (5, 5, 630, 470), (300, 10, 340, 480)])
def test_the_window_holds_the_box_and_stays_in_the_picture(box):
    x0, y0, x1, y1 = canvas.window_around((480, 640, 3), np.array(box, float))
    assert x0 <= box[0] and y0 <= box[1] and x1 >= box[2] and y1 >= box[3]
    assert 0 <= x0 < x1 <= 640 and 0 <= y0 < y1 <= 480
    assert canvas.window_around((96, 96, 3), np.array(box, float)) == (0, 0, 96, 96)


def test_masks_have_their_objects_colours_and_contested_pixels_are_nearly_white():
    masks = np.zeros((2, 8, 8), bool)
    masks[0, :6], masks[1, 4:] = True, True
    tinted = canvas.tinted(np.zeros((8, 8, 3), np.uint8), masks)
    for rows, colour in ((slice(0, 4), canvas.OBJECTS[0]), (slice(6, 8), canvas.OBJECTS[1])):
        assert np.abs(tinted[rows] - 0.62 * np.array(colour)).max() <= 0.5
    assert (tinted[4:6] == round(0.85 * 255)).all()


@pytest.mark.parametrize("width", [1, 3])
def test_an_outline_is_the_part_of_a_mask_next_to_its_outside(width):
    mask = np.zeros((20, 24), bool)
    mask[3:15, 0:14], mask[8:12, 10:22] = True, True
    drawn = (canvas.outlined(np.zeros((20, 24, 3), np.uint8), mask, (9, 9, 9), width) == 9).all(-1)
    steps = range(-width, width + 1)
    around = [(dy, dx) for dy in steps for dx in steps if abs(dy) + abs(dx) <= width]
    padded = np.pad(mask, width)
    outside = [~padded[width + dy :, width + dx :][:20, :24] for dy, dx in around]
    assert np.array_equal(drawn, mask & np.any(outside, axis=0))


def test_words_stay_off_each_other_and_in_the_picture():
    labels = canvas.Labels(Image.new("RGB", (100, 100)))
    for box in ((0, 0, 100, 100), (20, 20, 90, 60), (40, 20, 90, 50), (0, 90, 30, 100), (0, 90, 30, 100)):
        labels.write(box, "0.95", canvas.WHITE)
    for index, (x0, y0, x1, y1) in enumerate(labels.taken):
        assert 0 <= x0 < x1 <= 100 and 0 <= y0 < y1 <= 100
        assert not any(canvas.meet((x0, y0, x1, y1), other) for other in labels.taken[index + 1 :])
