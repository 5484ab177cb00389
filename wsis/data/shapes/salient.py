"""Draw one synthetic salient image: a single object of a shape that none of the classes has.

What a network learns from salient images for the objects of the scenes depends on how far the two lie apart,
so there are three domains. `near`: background and colours as in the scenes, the hue any, cut to the object's
box with a margin of up to a quarter on each side, as salient photographs show their object. `far`: saturated
and strongly textured backgrounds, objects of any saturation that fill 60 to 100 % of the image. `mixed`: near
and far images in turns. Coordinates and lengths as in wsis.data.shapes.plain.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from wsis.data import outlines
from wsis.data.colour import hsv_to_rgb
from wsis.data.shapes.paint import CONTRAST, away_from, colour_over, paint, stripes
from wsis.data.shapes.plain import (
    SUPERSAMPLING,
    Drawing,
    draw_background,
    fill_outline,
    finish,
    interpolation,
)

SATURATED = (0.5, 1.0)  # saturation of far backgrounds; those of the scenes end at 0.28
MARGIN = 0.25  # of a near object's sides
EXTENT = (0.6, 1.0)  # diameter of the circle around a far object, in sides of the image


def domain_of(domain: str, index: int) -> str:
    """near or far: the domain of image `index` in a set of this kind."""
    return ("near", "far")[index % 2] if domain == "mixed" else domain


def draw_salient(rng: np.random.Generator, size: int, domain: str = "near") -> Drawing:
    """One object, label 0. domain: "near" | "far"."""
    return _far(rng, size) if domain == "far" else _near(rng, size)


def _outline(rng: np.random.Generator) -> outlines.Outline:
    return outlines.SALIENT[int(rng.integers(len(outlines.SALIENT)))](rng)


def _near(rng: np.random.Generator, size: int) -> Drawing:
    image = draw_background(rng, size)
    radius = rng.uniform(24, 40) * size / 96
    outline = _outline(rng)
    alpha = fill_outline(rng, size, outline, rng.uniform(0.4, 0.6, 2) * size, radius)
    image = paint(rng, image, alpha, colour_over(rng, image, alpha, rng.random(), False), False)
    image, alpha = _cut(rng, image, alpha)
    return finish(rng, Drawing(image, [alpha >= 0.5], [0], [None], [None]))


def _cut(rng: np.random.Generator, image: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Object's box and margins of up to MARGIN of its sides, enlarged to the whole image; aspect not kept."""
    size = len(alpha)
    y, x = np.nonzero(alpha >= 0.5)
    low, high = np.array([x.min(), y.min()]), np.array([x.max(), y.max()]) + 1
    side = high - low
    left, top = np.maximum(low - rng.uniform(0, MARGIN, 2) * side, 0)
    right, bottom = np.minimum(high + rng.uniform(0, MARGIN, 2) * side, size)
    enlarge = lambda plane: np.asarray(  # noqa: E731
        Image.fromarray(plane.astype(np.float32)).resize(
            (size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom)
        )
    )
    return np.stack([enlarge(image[..., c]) for c in range(3)], -1), enlarge(alpha)


def _far(rng: np.random.Generator, size: int) -> Drawing:
    image = _saturated_background(rng, size)
    extent = rng.uniform(*EXTENT)
    outline = _outline(rng)
    centre = (0.5 + rng.uniform(-0.5, 0.5, 2) * (1 - extent)) * size  # the object stays inside
    alpha = fill_outline(rng, size, outline, centre, 0.5 * extent * size)
    under = (alpha / alpha.sum()).ravel() @ image.reshape(-1, 3)
    colours = hsv_to_rgb(rng.uniform((0, 0, 0.15), (1, 1, 1), (16, 3)))
    image = paint(rng, image, alpha, away_from(colours, under, CONTRAST), False)
    return finish(rng, Drawing(image, [alpha >= 0.5], [0], [None], [None]))


def _saturated_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Saturated clutter of any hue under a field of light and two crossing waves; s x s x 3 float32."""
    draw_colour = lambda: hsv_to_rgb(rng.uniform((0, SATURATED[0], 0.3), (1, SATURATED[1], 1)))  # noqa: E731
    base, side = draw_colour(), size * SUPERSAMPLING
    canvas = Image.new("RGB", (side, side), tuple(int(v) for v in base))
    pen = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(3, 9))):
        colour = tuple(int(v) for v in 0.5 * base + 0.5 * draw_colour())
        corners = rng.uniform(0, side, 2) + rng.uniform(-0.3, 0.3, (int(rng.integers(3, 6)), 2)) * side
        pen.polygon(corners.ravel().tolist(), fill=colour)
    image = np.asarray(canvas.reduce(SUPERSAMPLING), np.float32)
    weights = interpolation(size)
    light = weights @ rng.normal(0, 14, (5, 5)).astype(np.float32) @ weights.T
    waves = stripes(rng, size, rng.uniform(6, 18)) + stripes(rng, size, rng.uniform(6, 18))
    return np.clip(image + (light + waves)[..., None], 0, 255)
