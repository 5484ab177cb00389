"""Maps made larger: half-pixel as torch does it, and aligned as AdelaiDet does it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wsis.nn.upsample import upsample


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("aligned", [False, True])
def test_each_axis_is_a_linear_interpolation_between_cells(factor, aligned):
    maps = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    first = factor // 2 if aligned else (factor - 1) / 2  # the pixel at which the first cell's value stands
    rows, columns = (np.arange(side) * factor + first for side in (5, 7))
    expected = np.apply_along_axis(lambda x: np.interp(np.arange(5 * factor), rows, x), 2, maps.numpy())
    expected = np.apply_along_axis(lambda x: np.interp(np.arange(7 * factor), columns, x), 3, expected)
    found = upsample(maps, factor, aligned)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
