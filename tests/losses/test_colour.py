"""Lab conversion against scikit-image; similarity by its definition; validity of the bottom rows."""

import itertools

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from wsis.data.structures import Batch
from wsis.declare.specs.loss import PairwiseSpec
from wsis.losses.colour import colour_edges, colour_similarity, lab_on_grid, rgb_to_lab, undirected_offsets


def random_images(seed=0, size=(2, 3, 16, 24)):
    return torch.randint(0, 256, size, generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def test_lab_equals_scikit_image():
    images = random_images()
    images[0, :, :2] = torch.tensor([0, 1, 255]).repeat(8)[None]  # dark and white ends of the gamma curve
    expected = rgb2lab(images.permute(0, 2, 3, 1).numpy())
    found = rgb_to_lab(images.double() / 255).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_similarity_by_definition():
    lab = lab_on_grid(random_images(1), 4, "image")
    offsets = undirected_offsets(3, 2)
    similarity = colour_similarity(lab, offsets, theta=2.0)
    height, width = lab.shape[2:]
    for k, (dy, dx) in enumerate(offsets):
        for y in range(height):
            for x in range(width):
                v, u = y + dy, x + dx
                if 0 <= v < height and 0 <= u < width:
                    distance = (lab[1, :, y, x] - lab[1, :, v, u]).norm().item()
                    assert similarity[1, k, y, x].item() == pytest.approx(np.exp(-distance / 2), rel=1e-4)
                else:
                    assert similarity[1, k, y, x] == 0


def test_pooled_colour_truncates_to_grey_levels():
    images = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    images[0, :, 0, 0] = 31  # mean 1.94: truncated to 1
    lab = lab_on_grid(images, 4, "pooled")[0, :, 0, 0]
    np.testing.assert_allclose(lab.numpy(), rgb2lab(np.full((1, 1, 3), 1, np.uint8))[0, 0], atol=1e-4)


def test_uniform_image_is_all_similar_and_threshold_zero_takes_every_edge():
    images = torch.full((1, 3, 16, 16), 90, dtype=torch.uint8)
    valid = torch.ones(1, 16, 16, dtype=torch.bool)
    edges = colour_edges(
        images, valid, torch.zeros(1), 4, PairwiseSpec(tau=0.99, colour="image", bottom_rows=0)
    )
    assert edges.similar[0, 0, :, :-2].all()
    noisy = random_images(2, (1, 3, 16, 16))
    edges = colour_edges(
        noisy, valid, torch.zeros(1), 4, PairwiseSpec(tau=0.0, colour="image", bottom_rows=0)
    )
    assert edges.similar.all()


def test_bottom_rows_count_in_original_pixels_above_the_padding():
    valid = torch.zeros(1, 48, 16, dtype=torch.bool)
    valid[0, :40] = True  # 40 rows of image, 8 of padding
    images = torch.zeros(1, 3, 48, 16, dtype=torch.uint8)
    spec = PairwiseSpec(tau=0.1, colour="image", bottom_rows=10)
    rows = torch.arange(12) * 4 + 2
    for scale, below in itertools.product((0.5, 1.0), (0, 4, 40)):
        cut = Batch(images, valid, torch.tensor([scale]), [], below=torch.tensor([float(below)]))
        edges = colour_edges(images, valid, cut.lowest(10), 4, spec)
        assert edges.valid[0, :, 0].tolist() == (rows < 40 - max(int(10 * scale) - below, 0)).tolist()


def test_half_precision_training_sees_the_same_edges():
    images, valid = random_images(3, (1, 3, 64, 64)) // 8, torch.ones(1, 64, 64, dtype=torch.bool)
    spec = PairwiseSpec(tau=0.3, colour="pooled", bottom_rows=0)
    full = colour_edges(images, valid, torch.zeros(1), 4, spec).similar
    with torch.autocast("cpu", torch.bfloat16):
        half = colour_edges(images, valid, torch.zeros(1), 4, spec).similar
    assert full.any() and not full.all()
    assert torch.equal(full, half)
