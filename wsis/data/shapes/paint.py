"""Colours of drawn objects, at a distance from what they cover, and the light that falls on them.

Lengths and coordinates as in wsis.data.shapes.plain.
"""

from __future__ import annotations

import numpy as np

from wsis.data.colour import hsv_to_rgb, rgb_to_lab

Box = tuple[slice, slice]  # rows and columns of an image
WHOLE: Box = (slice(None), slice(None))
CONTRAST = 22.0  # smallest colour difference (CIE76) between an object and what it covers
LOW_CONTRAST = (7.0, 14.0)  # colour difference of the low-contrast share


def colour_over(
    rng: np.random.Generator, image: np.ndarray, alpha: np.ndarray, hue: float, low: bool
) -> np.ndarray:
    """An object's base colour at the wanted distance from what it covers."""
    under = (alpha / alpha.sum()).ravel() @ image.reshape(-1, 3)
    return _low_contrast(rng, under) if low else contrasting(rng, under, hue)


def paint(
    rng: np.random.Generator, image: np.ndarray, alpha: np.ndarray, colour: np.ndarray, low: bool
) -> np.ndarray:
    """Lay an object on the image: its colour (3, or s x s x 3), gradient, second tone, stripes."""
    size, box = len(image), extent(alpha)
    part = alpha[box]
    along = along_random_line(rng, alpha, box)
    shade = rng.uniform(5, 24) * (0.5 if low else 1) * along
    if rng.random() < 0.35:
        shade = shade + np.where(along > rng.uniform(-0.4, 0.4), 1, -1) * rng.uniform(6, 18) * (
            0.5 if low else 1
        )
    if rng.random() < 0.30:
        shade = shade + stripes(rng, size, rng.uniform(4, 14), box)
    colour = colour[box] if colour.ndim == 3 else colour
    painted = np.clip(colour.astype(np.float32) + shade[..., None], 0, 255)
    laid = image.astype(np.result_type(image, painted))
    laid[box] += part[..., None] * (painted - image[box])
    return laid


def extent(alpha: np.ndarray) -> Box:
    """The rows and columns that an object covers."""
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def along_random_line(rng: np.random.Generator, alpha: np.ndarray, box: Box = WHOLE) -> np.ndarray:
    """Position in the box along a random direction, about -1..1 over the object; float32."""
    rows, columns = box
    place = np.arange(len(alpha), dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    along = np.float32(np.cos(angle)) * place[columns] + np.float32(np.sin(angle)) * place[rows, None]
    inside = along[alpha[box] > 0]
    return (along - inside.mean()) / (np.ptp(inside) / 2 + 1e-3)


def contrasting(
    rng: np.random.Generator, under: np.ndarray, hue: float, least: float = CONTRAST
) -> np.ndarray:
    """A saturated colour of this hue, `least` or more away from `under`; else the farthest of sixteen."""
    hsv = np.stack([np.full(16, hue), rng.uniform(0.5, 1, 16), rng.uniform(0.4, 1, 16)], 1)
    return away_from(hsv_to_rgb(hsv), under, least)


def away_from(colours: np.ndarray, other: np.ndarray, least: float) -> np.ndarray:
    """The first of the colours that is at least that far from another one; else the farthest."""
    distance = np.linalg.norm(rgb_to_lab(colours) - rgb_to_lab(other), axis=1)
    good = np.flatnonzero(distance > least)
    return colours[good[0] if len(good) else int(distance.argmax())]


def _low_contrast(rng: np.random.Generator, under: np.ndarray) -> np.ndarray:
    """A colour whose distance from `under` lies within LOW_CONTRAST (the nearest to it of sixty-four)."""
    colours = np.clip(under + rng.normal(0, 20, (64, 3)), 0, 255)
    distance = np.linalg.norm(rgb_to_lab(colours) - rgb_to_lab(under), axis=1)
    excess = np.maximum(LOW_CONTRAST[0] - distance, 0) + np.maximum(distance - LOW_CONTRAST[1], 0)
    return colours[int(excess.argmin())]


def stripes(rng: np.random.Generator, size: int, amplitude: float, box: Box = WHOLE) -> np.ndarray:
    """A wave of light in the box of an s x s image; float32."""
    rows, columns = box
    place = np.arange(size, dtype=np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(6, 16) * size / 96
    across = place[columns] * np.cos(angle) + place[rows, None] * np.sin(angle)
    wave = across * (2 * np.pi / period) + rng.uniform(0, 2 * np.pi)
    return (amplitude * np.sin(wave)).astype(np.float32)
