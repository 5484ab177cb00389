"""The plain colour gradient as boundary map."""

import numpy as np
import pytest
from skimage.color import rgb2lab

from wsis.methods.baiseg.extract.gradient import FULL, colour_gradient, grey_gradient


def test_it_is_the_length_of_the_sobel_gradient_in_lab():
    image = np.random.default_rng(0).integers(80, 140, (12, 15, 3), dtype=np.uint8)
    lab = np.pad(rgb2lab(image), ((1, 1), (1, 1), (0, 0)), mode="reflect")
    expected = np.zeros((12, 15))
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    for y in range(12):
        for x in range(15):
            near = lab[y : y + 3, x : x + 3]
            total = sum((near[..., c] * k).sum() ** 2 for c in range(3) for k in (kernel, kernel.T))
            expected[y, x] = min(np.sqrt(total) / FULL, 1)
    assert 0.02 < np.median(expected) < 0.6
    # OpenCV reads its Lab conversion from a table: a few tenths of a Lab unit.
    np.testing.assert_allclose(colour_gradient(image), expected, atol=6e-3)


@pytest.mark.parametrize("gradient", [colour_gradient, grey_gradient])
def test_range_and_steps(gradient):
    flat = np.full((10, 12, 3), 90, np.uint8)
    assert gradient(flat).max() == 0
    step = flat.copy()
    step[:, 6:] = 120
    strong = np.zeros_like(flat)
    strong[:, 6:] = 255
    weak, full = gradient(step), gradient(strong)
    assert weak.dtype == full.dtype == np.float32 and weak.shape == (10, 12)
    assert 0 < weak.max() < full.max() <= 1
    assert not weak[:, :5].any() and not weak[:, 7:].any()
    if gradient is colour_gradient:
        assert full.max() == pytest.approx(1, abs=1e-3)


def test_a_value_does_not_depend_on_the_rest_of_the_image():
    image = np.random.default_rng(1).integers(100, 120, (20, 40, 3), dtype=np.uint8)
    other = image.copy()
    other[:, 25:] = np.where(np.arange(15)[None, :, None] % 2, 255, 0)
    np.testing.assert_array_equal(colour_gradient(image)[:, :22], colour_gradient(other)[:, :22])
