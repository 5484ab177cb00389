"""Photometric distortion against Python's own colour conversion, and how often it does what."""

from __future__ import annotations

import colorsys

import numpy as np

from wsis.methods.baiseg.distort import distorted


class Drawn:
    """A generator whose draws are known: `chances` below 0.5 or not, then `values` in order."""

    def __init__(self, chances: list[float], values: list[float]) -> None:
        self.chances, self.values, self.ranges = iter(chances), iter(values), []

    def random(self) -> float:
        return next(self.chances)

    def uniform(self, low: float, high: float) -> float:
        self.ranges.append((low, high))
        return next(self.values)


YES, NO = 0.0, 0.9


def some_image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)


def turned(rgb: list[float], degrees: float) -> list[float]:
    h, s, v = colorsys.rgb_to_hsv(*(x / 255 for x in rgb))
    return [255 * x for x in colorsys.hsv_to_rgb((h + degrees / 360) % 1, s, v)]


def by_pixels(image: np.ndarray, brightness: float, factor: float, degrees: float, first: bool) -> np.ndarray:
    result = np.empty(image.shape)
    for place in np.ndindex(image.shape[:2]):
        rgb = [min(max(x + brightness, 0), 255) for x in image[place].astype(float)]
        if first:
            rgb = [min(x * factor, 255) for x in rgb]
        rgb = turned(rgb, degrees)
        if not first:
            rgb = [min(x * factor, 255) for x in rgb]
        result[place] = rgb
    return result


def test_each_part_by_pixels():
    image = some_image()
    for first in (True, False):
        draws = Drawn([YES, YES, YES, YES if first else NO], [11.0, 1.4, -25.0])
        expected = by_pixels(image, 11.0, 1.4, -25.0, first)
        assert np.abs(distorted(image, draws) - expected).max() <= 0.51, "rounding alone"
        assert draws.ranges == [(-16, 16), (0.5, 1.5), (-36, 36)], "BESTIE's"


def test_nothing_drawn_is_nothing_changed():
    image = some_image()
    assert np.array_equal(distorted(image, Drawn([NO, NO, NO, NO], [])), image)


def test_half_of_the_images_have_each_change():
    grey = np.full((1, 1, 3), 100, np.uint8)  # which has no hue to turn
    found = [int(distorted(grey, np.random.default_rng(seed))[0, 0, 0]) for seed in range(2000)]
    assert 0.2 < np.mean([value == 100 for value in found]) < 0.3
    assert min(found) >= 84 * 0.5 and max(found) <= 116 * 1.5 + 1
