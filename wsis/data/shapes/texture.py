"""Draw one synthetic image for BAISeg: touching objects of one class, and strong edges inside.

Here a colour gradient does not tell a boundary from a texture: most objects have two tones of their class's
hue in halves, stripes, spots or checks, and those tones differ more than the base tones of two touching
objects of a class do. As in photographs, three things tell an outline from a texture: the object's shape, the
end of its pattern, and shading towards the outline, weak or absent in some objects. All numbers below were
set once, by looking at the pictures; no network's result had a part in them.

An image holds a cluster of touching objects of one class or none; all other objects keep away from those of
their own class and may touch those of another. A later object of a pair covers the earlier one or shares a
straight border with it. Lengths are pixels of a 96 x 96 image, colour differences CIE76, coordinates and
masks as in wsis.data.shapes.plain. Class, hue and the family of shapes go together, as in the other kinds.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from wsis.data import outlines
from wsis.data.colour import hsv_to_rgb, rgb_to_lab
from wsis.data.shapes.paint import CONTRAST, LOW_CONTRAST, Box, extent
from wsis.data.shapes.plain import (
    HUE_SD,
    HUES,
    MIN_PIXELS,
    MIN_VISIBLE,
    Drawing,
    draw_background,
    fill_outline,
    finish,
)

# Compact shapes of each class (positions of outlines.CLASSES): partly covered they mostly stay in one piece.
FAMILIES: tuple[tuple[outlines.Draw, ...], ...] = (
    (outlines.star, outlines.cross),
    (outlines.blob, outlines.ellipse),
    (outlines.triangle, outlines.polygon, outlines.heart),
)
RADIUS = (13.0, 25.0)  # log-uniform
TOUCH = 0.55  # probability of a cluster
THREE = 0.35  # of its having three objects, not two
OTHERS = {True: (0, 2), False: (2, 4)}  # objects wanted beside a cluster, and without one; both included
NEIGHBOUR = 0.5  # probability of such an object's being put beside one of another class
REACH = (0.45, 0.85)  # distance of neighbours' centres, in sums of the two radii
SHARED = 0.5  # share of neighbours with a common straight border; the others cover the earlier object
MIN_CONTACT = 10  # pixels of the later object along its contact with the earlier one
GAP = 2  # pixels between objects of a class that are not neighbours
TRIES = 8

TEXTURED = 0.85  # share of objects with two tones
STEP = (10.0, 22.0)  # wanted difference of touching objects' base tones
TONES = (28.0, 48.0)  # wanted difference of an object's two tones
SHADE = (0.0, 0.2)  # darkening at the outline, share of the colour
SHADE_DEPTH = 3.0  # where it has fallen to 1 / e
AWAY = 2  # pixels from an object's outline to its nearest texture edge that counts


def draw_texture(rng: np.random.Generator, size: int, low_contrast: float) -> Drawing:
    """Two to five objects where there is room for them.

    low_contrast: share of objects whose base tone is as close to the background as their hue allows.
    """
    scene = _Scene(rng, size, low_contrast)
    cluster = rng.random() < TOUCH
    if cluster:
        label = int(rng.integers(3))
        scene.try_alone(label, margin=0.3)
        for _ in range(1 + int(rng.random() < THREE)):
            if scene.labels:
                scene.try_beside(int(rng.integers(len(scene.labels))), label)
    for _ in range(int(rng.integers(*OTHERS[cluster], endpoint=True))):
        label = int(rng.integers(3))
        others = [i for i, other in enumerate(scene.labels) if other != label]
        if others and rng.random() < NEIGHBOUR:
            scene.try_beside(others[int(rng.integers(len(others)))], label)
        else:
            scene.try_alone(label)
    if not scene.labels:
        return draw_texture(rng, size, low_contrast)
    seconds = [
        part if part is not None and part.any() and (mask & ~part).any() else None
        for mask, part in zip(scene.masks, scene.seconds, strict=True)
    ]  # a tone may be covered, or its pattern miss a small object
    return finish(rng, Drawing(scene.image, scene.masks, scene.labels, seconds, [None] * len(seconds)))


def touching_pairs(masks: Sequence[np.ndarray], labels: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs (earlier, later) of objects of one class that have 4-neighbours in each other."""
    return [
        (i, j)
        for j in range(len(masks))
        for i in range(j)
        if labels[i] == labels[j] and (_grown(masks[i]) & masks[j]).any()
    ]


def texture_edges(drawing: Drawing) -> np.ndarray:
    """s x s bool: visible pixels of an object beside a 4-neighbour of its other tone, AWAY from its outline.

    Both pixels of such a pair count. The image's border is no outline.
    """
    edges = np.zeros(drawing.image.shape[:2], bool)
    side = 2 * AWAY + 1
    for mask, second in zip(drawing.masks, drawing.seconds, strict=True):
        if second is not None:
            change = (_grown(second) & mask & ~second) | (_grown(mask & ~second) & second)
            edges |= change & cv2.erode(mask.astype(np.uint8), np.ones((side, side), np.uint8)).astype(bool)
    return edges


class _Scene:
    """What is drawn so far; `try_...` adds an object where one of TRIES random places and shapes fits."""

    def __init__(self, rng: np.random.Generator, size: int, low_contrast: float) -> None:
        self.rng, self.size, self.scale, self.low_contrast = rng, size, size / 96, low_contrast
        self.image = draw_background(rng, size)
        self.behind = rgb_to_lab(self.image.mean((0, 1)))
        y, x = np.mgrid[0:size, 0:size].astype(np.float32) + 0.5
        self.grid = np.stack([x, y], -1)
        self.masks: list[np.ndarray] = []
        self.seconds: list[np.ndarray | None] = []
        self.labels: list[int] = []
        self.tones: list[np.ndarray] = []  # base tones, Lab
        self.circles: list[tuple[np.ndarray, float]] = []
        self.full: list[int] = []  # pixels, as if nothing were covered

    def try_alone(self, label: int, margin: float = 0.0) -> None:
        """An object anywhere, its centre `margin` sides away from the image's border."""
        for _ in range(TRIES):
            radius = self._radius()
            least = max(0.8 * radius, margin * self.size)
            centre = self.rng.uniform(least, self.size - least, 2)
            if self._add(label, centre, radius, None):
                return

    def try_beside(self, target: int, label: int) -> None:
        """An object in contact with the object `target`."""
        (middle, beside), rng = self.circles[target], self.rng
        for _ in range(TRIES):
            radius, angle = self._radius(), rng.uniform(0, 2 * np.pi)
            reach = rng.uniform(*REACH) * (radius + beside)
            centre = middle + reach * np.array([np.cos(angle), np.sin(angle)])
            inside = (centre >= 0.7 * radius).all() and (centre <= self.size - 0.7 * radius).all()
            if inside and self._add(label, centre, radius, target):
                return

    def _radius(self) -> float:
        return float(np.exp(self.rng.uniform(*np.log(RADIUS)))) * self.scale

    def _add(self, label: int, centre: np.ndarray, radius: float, target: int | None) -> bool:
        rng, family = self.rng, FAMILIES[label]
        alpha = fill_outline(rng, self.size, family[int(rng.integers(len(family)))](rng), centre, radius)
        full = int((alpha >= 0.5).sum())
        if target is not None and rng.random() < SHARED:
            alpha = np.where(self.masks[target], alpha * self._far_side(target, centre, radius), alpha)
        mask = alpha >= 0.5
        visible = [*(old & ~mask for old in self.masks), mask]
        if not self._fits(visible, [*self.full, full], label, target):
            return False
        box = extent(alpha)
        colour, second, tone = self._colours(label, target, mask, box, centre, radius)
        image = self.image.astype(np.result_type(self.image, colour))
        image[box] += alpha[box][..., None] * (np.clip(colour, 0, 255) - self.image[box])
        self.image = image
        self.masks = visible
        self.seconds = [old if old is None else old & ~mask for old in self.seconds] + [second]
        self.labels.append(label)
        self.tones.append(tone)
        self.circles.append((centre, radius))
        self.full.append(full)
        return True

    def _far_side(self, target: int, centre: np.ndarray, radius: float) -> np.ndarray:
        """Coverage of the new object's side of the chord of the two circles."""
        middle, beside = self.circles[target]
        distance = float(np.hypot(*(centre - middle)))
        chord = (distance**2 + beside**2 - radius**2) / (2 * distance)
        along = (self.grid - middle) @ ((centre - middle) / distance)
        return np.clip(along - chord + 0.5, 0, 1).astype(np.float32)

    def _fits(self, visible: list[np.ndarray], full: list[int], label: int, target: int | None) -> bool:
        """Large enough, in one piece, in contact with `target`, and away from others of the class."""
        least = MIN_PIXELS * self.scale**2
        for mask, area in zip(visible, full, strict=True):
            if mask.sum() < max(least, MIN_VISIBLE * area):
                return False
        *earlier, mask = visible
        if target is not None and (_grown(earlier[target]) & mask).sum() < MIN_CONTACT * self.scale:
            return False
        if target is None or self.labels[target] != label:
            near = cv2.dilate(mask.astype(np.uint8), np.ones((2 * GAP + 1, 2 * GAP + 1), np.uint8)) > 0
            if any((near & old).any() for old, its in zip(earlier, self.labels, strict=True) if its == label):
                return False
        return all(cv2.connectedComponents(m.astype(np.uint8), connectivity=4)[0] == 2 for m in visible)

    def _colours(
        self, label: int, target: int | None, mask: np.ndarray, box: Box, centre: np.ndarray, radius: float
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """RGB colours of the box, the part of the mask with the second tone or None, the base tone in Lab."""
        rng = self.rng
        low = rng.random() < self.low_contrast
        wanted = [(self.behind, *(LOW_CONTRAST if low else (CONTRAST, np.inf)))]
        if target is not None and self.labels[target] == label:
            wanted.append((self.tones[target], *STEP))
        base = _tone(rng, label, wanted)
        tone, colour, second = rgb_to_lab(base), base, None
        if rng.random() < TEXTURED:
            other = _tone(rng, label, [(tone, *TONES), (self.behind, CONTRAST / 2, np.inf)])
            weight = self._pattern(box, centre, radius)
            colour = base + weight[..., None] * (other - base)
            second = np.zeros_like(mask)
            second[box] = mask[box] & (weight >= 0.5)
        slope = self._turned(box, centre)[0] * (rng.uniform(4, 16) / radius)
        depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)[box]
        shade = 1 - rng.uniform(*SHADE) * np.exp(-depth / (SHADE_DEPTH * self.scale))
        return (colour + slope[..., None]) * shade[..., None], second, tone

    def _turned(self, box: Box, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates of the box's pixels around `centre` along two random perpendicular directions."""
        angle = self.rng.uniform(0, 2 * np.pi)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
        rows, columns = box
        across = ((self.grid[rows] - centre.astype(np.float32)) @ turn)[:, columns]
        return across[..., 0], across[..., 1]

    def _pattern(self, box: Box, centre: np.ndarray, radius: float) -> np.ndarray:
        """Weight of the second tone in the box, in [0, 1]; its edges are as sharp as an outline."""
        rng, (u, v) = self.rng, self._turned(box, centre)
        kind, phase = int(rng.integers(4)), rng.random(2)
        if kind == 0:  # halves
            return _inside(u - rng.uniform(-0.35, 0.35) * radius)
        if kind == 1:  # spots
            period = rng.uniform(11, 15) * self.scale
            within = [np.abs((c / period + p) % 1 - 0.5) * period for c, p in zip((u, v), phase, strict=True)]
            return _inside(rng.uniform(0.28, 0.36) * period - np.hypot(*within))
        period = rng.uniform(10, 17) * self.scale
        bands = [
            _inside((0.25 - np.abs((c / period + p) % 1 - 0.5)) * period)
            for c, p in zip((u, v), phase, strict=True)
        ]
        if kind == 2:  # stripes
            return bands[0]
        return bands[0] * bands[1] + (1 - bands[0]) * (1 - bands[1])  # checks


def _inside(distance: np.ndarray) -> np.ndarray:
    """Coverage of a pixel that lies `distance` pixels inside a straight edge."""
    return np.clip(distance + 0.5, 0, 1)


def _tone(rng: np.random.Generator, label: int, wanted: list[tuple[np.ndarray, float, float]]) -> np.ndarray:
    """RGB float32 of the class's hue whose differences from the given Lab colours lie in the wanted ranges.

    The first of forty-eight that has all; else the one that misses them by least.
    """
    hsv = rng.uniform((0, 0.5, 0.3), (1, 1, 1), (48, 3))
    hsv[:, 0] = HUES[label] + rng.normal(0, HUE_SD)
    colours = hsv_to_rgb(hsv)
    lab, missed = rgb_to_lab(colours), np.zeros(48)
    for other, least, most in wanted:
        distance = np.linalg.norm(lab - other, axis=1)
        missed += np.maximum(least - distance, 0) + np.maximum(distance - most, 0)
    return colours[int(missed.argmin())].astype(np.float32)


def _grown(mask: np.ndarray) -> np.ndarray:
    """The mask and its 4-neighbours."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown
