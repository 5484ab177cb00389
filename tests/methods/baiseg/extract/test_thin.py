"""Non-maximum suppression and the lines it leaves."""

import cv2
import numpy as np
import pytest

from tests.methods.baiseg.extract.scenes import components, contours, noise, soft, voronoi
from wsis.methods.baiseg.extract.thin import SIGMA, boundary_pixels, ridges


def slow_ridges(boundary):
    """Eigenvectors of the Hessian of every pixel, one at a time; pixels outside the image do not count."""
    h, w = boundary.shape
    smooth = np.pad(cv2.GaussianBlur(boundary, (0, 0), SIGMA).astype(float), 1, mode="reflect")
    keep = np.zeros((h, w), bool)
    sure = np.zeros((h, w), bool)
    for y in range(h):
        for x in range(w):
            near = smooth[y : y + 3, x : x + 3]
            weights = np.array([1, 2, 1]) / 4
            xx = weights @ near @ [1, -2, 1]
            yy = np.array([1, -2, 1]) @ near @ weights
            xy = np.array([-0.5, 0, 0.5]) @ near @ [-0.5, 0, 0.5]
            curvatures, vectors = np.linalg.eigh([[xx, xy], [xy, yy]])  # the smaller first
            down, up = curvatures
            vector = vectors[:, 0] if -down > up / 4 else vectors[:, 1]
            angle = np.degrees(np.arctan2(vector[1], vector[0])) / 45
            across = ((1, 0), (1, 1), (0, 1), (-1, 1))[round(angle) % 4]
            sure[y, x] = abs(angle - np.floor(angle) - 0.5) > 1e-3 and abs(down + up / 4) > 1e-5
            keep[y, x] = all(
                boundary[y, x] >= boundary[y + s * across[1], x + s * across[0]]
                for s in (-1, 1)
                if 0 <= y + s * across[1] < h and 0 <= x + s * across[0] < w
            )
    return keep, sure


@pytest.mark.parametrize("seed", range(3))
def test_the_direction_is_the_hessians_eigenvector(seed):
    boundary = noise(seed, (31, 40))
    keep, sure = slow_ridges(boundary)
    assert sure.mean() > 0.95
    np.testing.assert_array_equal(ridges(boundary)[sure], keep[sure])


@pytest.mark.parametrize("degrees", range(0, 180, 15))
def test_a_blurred_line_becomes_narrow_and_still_separates(degrees):
    rows, columns = np.indices((61, 61)) - 30
    angle = np.radians(degrees)
    distance = rows * np.cos(angle) - columns * np.sin(angle)
    boundary = np.exp(-((distance / 3.0) ** 2)).astype(np.float32)
    lines = boundary_pixels(boundary, 0.2, thin=True)
    inner = np.s_[2:-2, 2:-2]  # outside the image a line has no direction
    assert np.abs(distance[inner][lines[inner]]).max() < 2.3
    assert np.abs(distance[boundary_pixels(boundary, 0.2, thin=False)]).max() > 2.9
    sides = components(~lines)
    assert len(sides) == 2
    for side in sides:
        assert len({distance[pixel] > 0 for pixel in side}) == 1


def joined(lines, points):
    """Components of the other pixels that hold more than one of the points."""
    places = {tuple(point) for point in points.tolist()}
    return sum(len(places & component) > 1 for component in components(~lines))


def test_the_cells_of_a_partition_stay_apart_where_bare_ridges_leak():
    leaks = 0
    for seed in range(12):
        cells, points = voronoi(seed)
        boundary = soft(contours(cells), 2.0)
        assert joined(boundary_pixels(boundary, 0.05, thin=True), points) == 0
        leaks += joined(ridges(boundary) & (boundary > 0.05), points)
    assert leaks, "bare ridges never leak: widening them is then not needed"


def test_thin_lines_are_some_of_the_pixels_above_the_threshold():
    boundary = noise(5, (50, 64))
    for threshold in (0.0, 0.3, 0.6, 1.0):
        thick = boundary_pixels(boundary, threshold, thin=False)
        np.testing.assert_array_equal(thick, boundary > threshold)
        assert not (boundary_pixels(boundary, threshold, thin=True) & ~thick).any()


def test_a_plateau_and_a_map_at_its_limits():
    flat = np.ones((20, 30), np.float32)
    assert boundary_pixels(flat, 0.5, thin=True).all()
    assert not boundary_pixels(flat, 1.0, thin=True).any()
    assert not boundary_pixels(np.zeros_like(flat), 0.0, thin=True).any()


@pytest.mark.parametrize("turn", [np.fliplr, np.flipud, np.transpose, np.rot90])
def test_orientation_does_not_matter(turn):
    boundary = noise(7, (50, 64))
    turned = boundary_pixels(np.ascontiguousarray(turn(boundary)), 0.4, thin=True)
    # Rounding of sums may turn a direction that lies between two sectors.
    assert (turned != turn(boundary_pixels(boundary, 0.4, thin=True))).mean() < 0.002
