"""Outlines of the synthetic objects: polygons inside the unit circle.

An outline is a list of (points, filled): P x 2 float xy, drawn in order; a part with filled False is cut out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Outline = list[tuple[np.ndarray, bool]]
Draw = Callable[[np.random.Generator], Outline]


def _circle(radius: float = 1.0, x: float = 0.0) -> np.ndarray:
    angle = np.arange(40) * (2 * np.pi / 40)
    return np.stack([x + radius * np.cos(angle), radius * np.sin(angle)], 1)


def _polar(radii: np.ndarray) -> np.ndarray:
    angle = np.arange(len(radii)) * (2 * np.pi / len(radii))
    return radii[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


def _points(*xy: tuple[float, float]) -> np.ndarray:
    points = np.array(xy, float)
    points -= (points.max(0) + points.min(0)) / 2
    return points / np.linalg.norm(points, axis=1).max()


def star(rng: np.random.Generator) -> Outline:
    tips = int(rng.integers(4, 7))
    return [(_polar(np.tile([1.0, rng.uniform(0.38, 0.55)], tips)), True)]


def cross(rng: np.random.Generator) -> Outline:
    w = rng.uniform(0.25, 0.42)
    arm = _points((-w, -1), (w, -1), (w, -w), (1, -w), (1, w), (w, w), (w, 1), (-w, 1), (-w, w), (-1, w),
                  (-1, -w), (-w, -w))  # fmt: skip
    return [(arm, True)]


def ring(rng: np.random.Generator) -> Outline:
    return [(_circle(), True), (_circle(rng.uniform(0.42, 0.62)), False)]


def blob(rng: np.random.Generator) -> Outline:
    angle = np.arange(48) * (2 * np.pi / 48)
    waves = np.arange(2, 6)[:, None]
    radii = 1 + (
        rng.normal(0, 0.3, (4, 1)) / (waves - 0.5) * np.cos(waves * angle + rng.uniform(0, 6.3, (4, 1)))
    ).sum(0)
    radii = np.maximum(radii, 0.25)
    return [(_polar(radii / radii.max()), True)]


def ell(rng: np.random.Generator) -> Outline:
    w, h = rng.uniform(0.45, 0.7, 2)
    return [(_points((0, 0), (w, 0), (w, 2 - h), (1.7, 2 - h), (1.7, 2), (0, 2)), True)]


def crescent(rng: np.random.Generator) -> Outline:
    return [(_circle(), True), (_circle(rng.uniform(0.7, 0.85), rng.uniform(0.45, 0.65)), False)]


def triangle(rng: np.random.Generator) -> Outline:
    angle = np.array([0, 2.1, 4.2]) + rng.uniform(-0.3, 0.3, 3)
    return [(np.stack([np.cos(angle), np.sin(angle)], 1), True)]


def ellipse(rng: np.random.Generator) -> Outline:
    return [(_circle() * [1.0, rng.uniform(0.5, 1.0)], True)]


def polygon(rng: np.random.Generator) -> Outline:
    return [(_polar(rng.uniform(0.8, 1.0, int(rng.integers(5, 8)))), True)]


def arrow(rng: np.random.Generator) -> Outline:
    w, neck = rng.uniform(0.2, 0.35), rng.uniform(-0.1, 0.3)
    return [(_points((-1, -w), (neck, -w), (neck, -0.8), (1, 0), (neck, 0.8), (neck, w), (-1, w)), True)]


def heart(rng: np.random.Generator) -> Outline:
    t = np.arange(48) * (2 * np.pi / 48)
    y = 13 * np.cos(t) - rng.uniform(4, 6) * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return [(_points(*zip(16 * np.sin(t) ** 3, -y, strict=True)), True)]


def tee(rng: np.random.Generator) -> Outline:
    w, h = rng.uniform(0.2, 0.35), rng.uniform(0.4, 0.6)
    bar, stem = ((-0.9, -1), (0.9, -1), (0.9, h - 1)), ((w, h - 1), (w, 1), (-w, 1), (-w, h - 1))
    return [(_points(*bar, *stem, (-0.9, h - 1)), True)]


def horseshoe(rng: np.random.Generator) -> Outline:
    w, h = rng.uniform(0.3, 0.5, 2)
    gap = ((w, 0), (w, 2 - h), (1.7 - w, 2 - h), (1.7 - w, 0))
    return [(_points((0, 0), *gap, (1.7, 0), (1.7, 2), (0, 2)), True)]


# Two shapes a class; the first of class 1 is a ring or a blob.
CLASSES: dict[str, tuple[tuple[Draw, ...], tuple[Draw, ...]]] = {
    "spiky": ((star,), (cross,)),
    "round": ((ring, blob), (ell,)),
    "pointed": ((crescent,), (triangle,)),
}
# Shapes of the salient images, none of which occurs among the classes.
SALIENT: tuple[Draw, ...] = (ellipse, polygon, arrow, heart, tee, horseshoe)


def of_class(label: int, rng: np.random.Generator) -> Outline:
    """A random outline of class `label` (position in CLASSES)."""
    shape = list(CLASSES.values())[label][int(rng.integers(2))]
    return shape[int(rng.integers(len(shape)))](rng)
