"""BAISeg's heads beside the boundary module: semantic classes, and the embedding that the contrast compares.

Shapes: B images, C' feature channels, C classes, H x W feature grid.
"""

from __future__ import annotations

from torch import Tensor, nn

WIDTH = 256


class SemanticHead(nn.Module):
    """3x3 convolution, ReLU, 1x1 convolution: BESTIE's head, which fits Table 6 (erratum semantic-branch)."""

    def __init__(self, channels: int, num_classes: int, width: int = WIDTH) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, num_classes + 1, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """B x C' x H x W -> B x (C + 1) x H x W logits; 0 is background."""
        return self.layers(features)


class Projection(nn.Conv2d):
    """1x1 convolution of F_p (d channels) to the contrast's embedding; linear, not normalised (Sec. 3.4)."""

    def __init__(self, dim: int, width: int = WIDTH) -> None:
        super().__init__(dim, width, 1)
