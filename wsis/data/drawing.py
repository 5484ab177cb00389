"""Draw one synthetic image: separable objects on a desaturated, textured background.

Everything a picture needs comes from one numpy generator. Lengths are given for a 96 x 96 image and scaled
with its side s. Masks are drawn at twice the side and averaged down; a pixel belongs to a mask when at least
half of it is covered. Coordinates are pixels, xy, pixel (0, 0) covering [0, 1) x [0, 1).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from wsis.data import outlines
from wsis.data.colour import hsv_to_rgb, rgb_to_lab

SUPERSAMPLING = 2
RADIUS = (11.0, 42.0)  # pixels at s = 96, log-uniform
MIN_VISIBLE = 0.4  # share of an object that later objects must leave visible
MIN_PIXELS = 40  # at s = 96
COUNTS = (0.26, 0.37, 0.37)  # probability of wanting one, two, three objects
HUES = (0.04, 0.37, 0.70)  # of the three classes, in turns
HUE_SD = 16 / 360
ANY_COLOUR = 0.15  # share of objects whose hue says nothing about their class
CONTRAST = 22.0  # smallest colour difference (CIE76) between an object and what it covers
LOW_CONTRAST = (7.0, 14.0)  # colour difference of the low-contrast share


@dataclass
class Drawing:
    """image: s x s x 3 uint8; masks: visible s x s bool, mutually exclusive; labels: class positions."""

    image: np.ndarray
    masks: list[np.ndarray] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)


def draw_scene(rng: np.random.Generator, size: int, low_contrast: float) -> Drawing:
    """One to three objects of the classes; a later object covers an earlier one."""
    scene = Drawing(_background(rng, size))
    wanted, placed, full = 1 + int(rng.choice(3, p=COUNTS)), [], []
    for _ in range(wanted):
        radius = float(np.exp(rng.uniform(*np.log(RADIUS)))) * size / 96
        centre = _place(rng, size, radius, placed)
        label = int(rng.integers(3))
        alpha = _fill(rng, size, outlines.of_class(label, rng), centre, radius)
        mask = alpha >= 0.5
        later = [old & ~mask for old in scene.masks]
        least = MIN_PIXELS * (size / 96) ** 2
        if mask.sum() < least or any(
            m.sum() < max(least, MIN_VISIBLE * area) for m, area in zip(later, full, strict=True)
        ):
            continue  # never drawn, so no object goes without its annotation
        hue = rng.random() if rng.random() < ANY_COLOUR else HUES[label] + rng.normal(0, HUE_SD)
        scene.image = _paint(rng, scene.image, alpha, hue, rng.random() < low_contrast)
        scene.masks = [*later, mask]
        scene.labels.append(label)
        placed.append((centre, radius))
        full.append(int(mask.sum()))
    if not scene.masks:
        return draw_scene(rng, size, low_contrast)
    return _finish(rng, scene)


def draw_salient(rng: np.random.Generator, size: int) -> Drawing:
    """One object of a shape that no class has, of any hue, on the same kind of background; label 0."""
    image = _background(rng, size)
    radius = rng.uniform(24, 40) * size / 96
    outline = outlines.SALIENT[int(rng.integers(len(outlines.SALIENT)))](rng)
    alpha = _fill(rng, size, outline, rng.uniform(0.4, 0.6, 2) * size, radius)
    image = _paint(rng, image, alpha, rng.random(), False)
    return _finish(rng, Drawing(image, [alpha >= 0.5], [0]))


def _finish(rng: np.random.Generator, scene: Drawing) -> Drawing:
    noise = rng.standard_normal(scene.image.shape, dtype=np.float32) * np.float32(rng.uniform(1, 3.5))
    scene.image = np.clip(scene.image + noise + 0.5, 0, 255).astype(np.uint8)
    return scene


def _place(rng: np.random.Generator, size: int, radius: float, placed: list) -> np.ndarray:
    """A centre with most of the object inside the image; the first of six that is not too close to others."""
    margin = min(0.8 * radius, 0.45 * size)
    for centre in rng.uniform(margin, size - margin, (6, 2)):
        if all(np.hypot(*(centre - c)) >= 0.7 * (radius + r) for c, r in placed):
            break
    return centre


def _fill(
    rng: np.random.Generator, size: int, outline: outlines.Outline, centre: np.ndarray, radius: float
) -> np.ndarray:
    """Coverage in [0, 1], s x s float32, of the outline squeezed, turned, scaled and moved."""
    angle, aspect = rng.uniform(0, 2 * np.pi), rng.uniform(0.75, 1)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    canvas = Image.new("L", (size * SUPERSAMPLING, size * SUPERSAMPLING))
    pen = ImageDraw.Draw(canvas)
    for points, filled in outline:
        xy = ((points * [1, aspect]) @ turn * radius + centre) * SUPERSAMPLING - 0.5
        pen.polygon(xy.ravel().tolist(), fill=255 if filled else 0)
    return np.asarray(canvas.reduce(SUPERSAMPLING), np.float32) / 255


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Desaturated clutter, a low-frequency field of light and colour, stripes in 40 % of the images."""
    base = hsv_to_rgb(np.array([rng.random(), rng.uniform(0, 0.28), rng.uniform(0.25, 0.85)]))
    side = size * SUPERSAMPLING
    canvas = Image.new("RGB", (side, side), tuple(int(v) for v in base))
    pen = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(2, 7))):
        grey = np.array([rng.random(), rng.uniform(0, 0.28), rng.uniform(0.2, 0.9)])
        colour = tuple(int(v) for v in 0.5 * base + 0.5 * hsv_to_rgb(grey))
        if rng.random() < 0.5:
            width = int(rng.integers(2, 8) * side / 192)
            pen.line(rng.uniform(0, side, 4).tolist(), fill=colour, width=max(width, 1))
        else:
            corners = rng.uniform(0, side, 2) + rng.uniform(-0.3, 0.3, (int(rng.integers(3, 6)), 2)) * side
            pen.polygon(corners.ravel().tolist(), fill=colour)
    image = np.asarray(canvas.reduce(SUPERSAMPLING), np.float32)
    weights = _interpolation(size)
    light = weights @ rng.normal(0, 14, (5, 5)).astype(np.float32) @ weights.T
    tint = weights @ rng.normal(0, 4, (3, 5, 5)).astype(np.float32) @ weights.T
    image = image + light[..., None] + tint.transpose(1, 2, 0)
    if rng.random() < 0.4:
        image += _stripes(rng, size, rng.uniform(4, 12))[..., None]
    return np.clip(image, 0, 255)


def _paint(
    rng: np.random.Generator, image: np.ndarray, alpha: np.ndarray, hue: float, low: bool
) -> np.ndarray:
    """Lay an object on the image: base colour at the wanted distance, gradient, second tone, stripes."""
    size = len(image)
    weight = alpha / alpha.sum()
    under = weight.ravel() @ image.reshape(-1, 3)
    colour = _low_contrast(rng, under) if low else _contrasting(rng, under, hue)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    along = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
    inside = along[alpha > 0]
    along = (along - inside.mean()) / (np.ptp(inside) / 2 + 1e-3)  # about -1..1 over the object
    shade = rng.uniform(5, 24) * (0.5 if low else 1) * along
    if rng.random() < 0.35:
        shade = shade + np.where(along > rng.uniform(-0.4, 0.4), 1, -1) * rng.uniform(6, 18) * (
            0.5 if low else 1
        )
    if rng.random() < 0.30:
        shade = shade + _stripes(rng, size, rng.uniform(4, 14))
    painted = np.clip(colour.astype(np.float32) + shade[..., None], 0, 255)
    return image + alpha[..., None] * (painted - image)


def _contrasting(rng: np.random.Generator, under: np.ndarray, hue: float) -> np.ndarray:
    """A saturated colour of this hue, CONTRAST or more away from `under`; else the farthest of sixteen."""
    hsv = np.stack([np.full(16, hue), rng.uniform(0.5, 1, 16), rng.uniform(0.4, 1, 16)], 1)
    colours = hsv_to_rgb(hsv)
    distance = np.linalg.norm(rgb_to_lab(colours) - rgb_to_lab(under), axis=1)
    good = np.flatnonzero(distance > CONTRAST)
    return colours[good[0] if len(good) else int(distance.argmax())]


def _low_contrast(rng: np.random.Generator, under: np.ndarray) -> np.ndarray:
    """A colour whose distance from `under` lies within LOW_CONTRAST (the nearest to it of sixty-four)."""
    colours = np.clip(under + rng.normal(0, 20, (64, 3)), 0, 255)
    distance = np.linalg.norm(rgb_to_lab(colours) - rgb_to_lab(under), axis=1)
    excess = np.maximum(LOW_CONTRAST[0] - distance, 0) + np.maximum(distance - LOW_CONTRAST[1], 0)
    return colours[int(excess.argmin())]


def _stripes(rng: np.random.Generator, size: int, amplitude: float) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(6, 16) * size / 96
    wave = (x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period) + rng.uniform(0, 2 * np.pi)
    return (amplitude * np.sin(wave)).astype(np.float32)


@cache
def _interpolation(size: int) -> np.ndarray:
    """size x 5: bicubic weights of five control points along one side."""
    eye = Image.fromarray(np.eye(5, dtype=np.float32))
    return np.asarray(eye.resize((5, size), Image.Resampling.BICUBIC))
