"""Photometric distortion of training images, as BESTIE's code has it; BAISeg's paper does not mention any."""

from __future__ import annotations

import cv2
import numpy as np

BRIGHTNESS = 16  # at most added or taken off, of 255
CONTRAST = (0.5, 1.5)
HUE = 36  # degrees, at most added or taken off


def distorted(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """h x w x 3 uint8 RGB with other brightness, contrast and hue, each in half of the cases.

    Contrast changes before or after hue.
    """
    pixels = image.astype(np.float32)
    if rng.random() < 0.5:
        pixels = _clipped(pixels + rng.uniform(-BRIGHTNESS, BRIGHTNESS))
    factor = rng.uniform(*CONTRAST) if rng.random() < 0.5 else 1.0
    turn = rng.uniform(-HUE, HUE) if rng.random() < 0.5 else 0.0
    contrast_first = rng.random() < 0.5
    if contrast_first:
        pixels = _clipped(pixels * factor)
    pixels = _turned(pixels, turn)
    if not contrast_first:
        pixels = _clipped(pixels * factor)
    return np.rint(_clipped(pixels)).astype(np.uint8)


def _turned(pixels: np.ndarray, degrees: float) -> np.ndarray:
    """h x w x 3 float32 RGB with another hue, and its value and saturation (HSV)."""
    if degrees == 0:
        return pixels
    colours = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)
    colours[..., 0] = (colours[..., 0] + degrees) % 360
    return cv2.cvtColor(colours, cv2.COLOR_HSV2RGB)


def _clipped(pixels: np.ndarray) -> np.ndarray:
    return pixels.clip(0, 255).astype(np.float32)
