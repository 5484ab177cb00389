"""CIE Lab in numpy, for the synthetic generator and its edge statistics (no torch)."""

from __future__ import annotations

import numpy as np

# sRGB to CIE XYZ (D65), IEC 61966-2-1; white point of the 2 degree observer.
RGB_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
WHITE = (0.95047, 1.0, 1.08883)


def rgb_to_lab(rgb: np.ndarray) -> np.ndarray:
    """sRGB in 0..255 (any shape ending in 3) -> Lab float32, L in [0, 100]; D65, 2 degree observer."""
    c = np.clip(np.asarray(rgb, np.float32) / 255, 0, 1)
    linear = np.where(c > 0.04045, ((c + 0.055) / 1.055) ** 2.4, c / 12.92)
    t = (linear @ np.float32(RGB_TO_XYZ).T) / np.float32(WHITE)
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def hsv_to_rgb(hsv: np.ndarray) -> np.ndarray:
    """HSV with h in turns (any real), s and v in [0, 1], (..., 3) -> RGB in 0..255 float."""
    h, s, v = hsv[..., 0:1], hsv[..., 1:2], hsv[..., 2:3]
    k = (np.array([5.0, 3.0, 1.0]) + 6 * h) % 6
    return 255 * (v - v * s * np.clip(np.minimum(k, 4 - k), 0, 1))
