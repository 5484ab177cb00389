"""Draw one synthetic image: separable objects on a desaturated, textured background.

Everything a picture needs comes from one numpy generator. Lengths are given for a 96 x 96 image and scaled
with its side s. Masks are drawn at twice the side and averaged down; a pixel belongs to a mask when at least
half of it is covered. Coordinates are pixels, xy, pixel (0, 0) covering [0, 1) x [0, 1).

`plain` objects are separable by colour. `hard` ones are what pseudo masks are for: objects of two strongly
different colours, with a side that fades into the background, and overlapping neighbours of the same class.
Salient images and the kind `texture` are drawn from the same parts: wsis.data.shapes.{salient,texture}.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from wsis.data import outlines
from wsis.data.colour import hsv_to_rgb
from wsis.data.shapes.paint import along_random_line, away_from, colour_over, contrasting, paint, stripes

SUPERSAMPLING = 2
RADIUS = (11.0, 42.0)  # pixels at s = 96, log-uniform
MIN_VISIBLE = 0.4  # share of an object that later objects must leave visible
MIN_PIXELS = 40  # at s = 96
COUNTS = (0.26, 0.37, 0.37)  # probability of wanting one, two, three objects
HUES = (0.04, 0.37, 0.70)  # of the three classes, in turns
HUE_SD = 16 / 360
ANY_COLOUR = 0.15  # share of objects whose hue says nothing about their class

# hard only
PARTNER = 0.5  # probability of an overlapping object of the same class
NEAR = (0.4, 0.62)  # distance of its centre, in sums of the two radii; others keep 0.7 where there is room
TWO_COLOURS = 0.6  # share of objects with two parts
SECOND_HUES = (0.21, 0.54, 0.87)  # of the second parts of the three classes: half-way between HUES
GREY = 0.5  # share of the second parts that are as grey as the clutter
PART_CONTRAST = 30.0  # wanted colour difference (CIE76) of the two parts; less where neither is saturated
FADED = 0.6  # share of objects with a side of low contrast
FADE = 0.9  # of the background, at the middle of that side
FADE_SD = 0.45  # radii


@dataclass
class Drawing:
    """image: s x s x 3 uint8; masks: visible s x s bool, mutually exclusive; labels: class positions.

    seconds: the part of each mask that has the second colour, or None; faded: row and column of the pixel at
    the middle of each object's low-contrast side, or None. In `plain` all are None.
    """

    image: np.ndarray
    masks: list[np.ndarray] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    seconds: list[np.ndarray | None] = field(default_factory=list)
    faded: list[tuple[int, int] | None] = field(default_factory=list)


def draw_scene(rng: np.random.Generator, size: int, low_contrast: float, kind: str = "plain") -> Drawing:
    """One to three objects of the classes, some with a partner in `hard`; a later one covers an earlier one.

    kind: "plain" | "hard"; the random numbers of a plain scene do not depend on what hard ones need.
    """
    hard, scene = kind == "hard", Drawing(draw_background(rng, size))
    background = scene.image
    wanted, placed, full = 1 + int(rng.choice(3, p=COUNTS)), [], []

    def add(label: int, centre: np.ndarray, radius: float) -> bool:
        """Draw one object; False where it is too small or would hide too much of an earlier one."""
        alpha = fill_outline(rng, size, outlines.of_class(label, rng), centre, radius)
        mask = alpha >= 0.5
        later = [old & ~mask for old in scene.masks]
        least = MIN_PIXELS * (size / 96) ** 2
        if mask.sum() < least or any(
            m.sum() < max(least, MIN_VISIBLE * area) for m, area in zip(later, full, strict=True)
        ):
            return False  # never drawn, so no object goes without its annotation
        hue = rng.random() if rng.random() < ANY_COLOUR else HUES[label] + rng.normal(0, HUE_SD)
        low = rng.random() < low_contrast
        colour = colour_over(rng, scene.image, alpha, hue, low)
        second = faded = None
        cover = alpha
        if hard and rng.random() < TWO_COLOURS:
            second = _second_part(rng, alpha)
            other = _second_colour(rng, colour, label, background)
            colour = np.where(second[..., None], other, colour)
            second &= mask
        if hard and rng.random() < FADED:
            faded = _free_border(rng, mask, np.any([mask, *scene.masks], axis=0))
            scene.image = scene.image + alpha[..., None] * (background - scene.image)
            cover = alpha * (1 - FADE * _bump(size, faded, FADE_SD * radius))
        scene.image = paint(rng, scene.image, cover, colour, low)
        scene.masks = [*later, mask]
        scene.seconds = [old if old is None else old & ~mask for old in scene.seconds] + [second]
        scene.labels.append(label)
        scene.faded.append(faded)
        placed.append((centre, radius))
        full.append(int(mask.sum()))
        return True

    for _ in range(wanted):
        radius = float(np.exp(rng.uniform(*np.log(RADIUS)))) * size / 96
        centre = _place(rng, size, radius, placed)
        label = int(rng.integers(3))
        if add(label, centre, radius) and hard and rng.random() < PARTNER:
            partner = _beside(rng, size, placed)
            if partner:
                add(label, *partner)
    if not scene.masks:
        return draw_scene(rng, size, low_contrast, kind)
    return finish(rng, scene)


def finish(rng: np.random.Generator, scene: Drawing) -> Drawing:
    noise = rng.standard_normal(scene.image.shape, dtype=np.float32)
    noise *= np.float32(rng.uniform(1, 3.5))
    image = scene.image + noise
    image += 0.5
    scene.image = np.clip(image, 0, 255, out=image).astype(np.uint8)
    return scene


def _place(rng: np.random.Generator, size: int, radius: float, placed: list) -> np.ndarray:
    """A centre with most of the object inside the image; the first of six that is not too close to others."""
    margin = min(0.8 * radius, 0.45 * size)
    for centre in rng.uniform(margin, size - margin, (6, 2)):
        if all(np.hypot(*(centre - c)) >= 0.7 * (radius + r) for c, r in placed):
            break
    return centre


def _beside(rng: np.random.Generator, size: int, placed: list) -> tuple[np.ndarray, float] | None:
    """Centre and radius of a partner of the last object: about as large, NEAR it, not too close to others.

    The first of sixteen random places with most of the partner inside the image; None where none has room.
    """
    *others, (centre, radius) = placed
    least, most = np.array(RADIUS) * size / 96
    partner = float(np.clip(radius * np.exp(rng.uniform(-0.3, 0.3)), least, most))
    margin = min(0.8 * partner, 0.45 * size)
    angle, reach = rng.uniform(0, 2 * np.pi, 16), rng.uniform(*NEAR, 16) * (radius + partner)
    for place in centre + reach[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1):
        inside = (place >= margin).all() and (place <= size - margin).all()
        if inside and all(np.hypot(*(place - c)) >= 0.7 * (partner + r) for c, r in others):
            return place, partner
    return None


def fill_outline(
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


def draw_background(rng: np.random.Generator, size: int) -> np.ndarray:
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
    weights = interpolation(size)
    light = weights @ rng.normal(0, 14, (5, 5)).astype(np.float32) @ weights.T
    tint = weights @ rng.normal(0, 4, (3, 5, 5)).astype(np.float32) @ weights.T
    image += light[..., None]
    image += tint.transpose(1, 2, 0)
    if rng.random() < 0.4:
        image += stripes(rng, size, rng.uniform(4, 12))[..., None]
    return np.clip(image, 0, 255, out=image)


def _second_part(rng: np.random.Generator, alpha: np.ndarray) -> np.ndarray:
    """s x s bool: the side of a random straight line that holds 30 to 70 % of the object."""
    along = along_random_line(rng, alpha)
    return along > np.quantile(along[alpha >= 0.5], rng.uniform(0.3, 0.7))


def _second_colour(
    rng: np.random.Generator, first: np.ndarray, label: int, background: np.ndarray
) -> np.ndarray:
    """PART_CONTRAST or more away from `first`: grey like the clutter, or of the class's second hue."""
    if rng.random() < GREY:
        greys = hsv_to_rgb(rng.uniform((0, 0, 0.2), (1, 0.28, 0.9), (16, 3)))
        return away_from(0.5 * background.mean((0, 1)) + 0.5 * greys, first, PART_CONTRAST)
    return contrasting(rng, first, SECOND_HUES[label] + rng.normal(0, HUE_SD), PART_CONTRAST)


def _free_border(rng: np.random.Generator, mask: np.ndarray, objects: np.ndarray) -> tuple[int, int]:
    """A random pixel of the mask that has a pixel of the background beside it; else any of its border's.

    The image's edge is no border.
    """
    padded = (np.pad(covered, 1, mode="edge") for covered in (objects, mask))
    borders = [mask & ~(m[:-2, 1:-1] & m[2:, 1:-1] & m[1:-1, :-2] & m[1:-1, 2:]) for m in padded]
    pixels = next(np.argwhere(region) for region in (*borders, mask) if region.any())
    row, column = pixels[int(rng.integers(len(pixels)))]
    return int(row), int(column)


def _bump(size: int, pixel: tuple[int, int], sd: float) -> np.ndarray:
    """A Gaussian of height 1 around a pixel (row, column); s x s float32."""
    row, column = (np.exp(-0.5 * ((np.arange(size) - p) / sd) ** 2).astype(np.float32) for p in pixel)
    return row[:, None] * column


@cache
def interpolation(size: int) -> np.ndarray:
    """size x 5: bicubic weights of five control points along one side."""
    eye = Image.fromarray(np.eye(5, dtype=np.float32))
    return np.asarray(eye.resize((5, size), Image.Resampling.BICUBIC))
