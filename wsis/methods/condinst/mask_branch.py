"""CondInst's mask branch: pyramid levels to mask features shared by all instances of an image."""

from __future__ import annotations

from torch import Tensor, nn

from wsis.nn.layout import Layout
from wsis.nn.upsample import upsample


class MaskBranch(nn.Module):
    """Reduce each input to a common width, sum at the finest stride, refine, project to C_m channels."""

    def __init__(self, channels: dict[str, int], outputs: int, layout: Layout) -> None:
        super().__init__()
        self.inputs, self.aligned = layout.mask_inputs, layout.official
        self.reduce = nn.ModuleDict({name: _block(channels[name], layout.mask_width) for name in self.inputs})
        convs = [_block(layout.mask_width, layout.mask_width) for _ in range(layout.mask_convs)]
        self.refine = nn.Sequential(*convs, nn.Conv2d(layout.mask_width, outputs, 1))

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Named features -> B x C_m x H/s x W/s, s the layout's mask stride."""
        first, *others = self.inputs
        x = self.reduce[first](features[first])
        for name in others:
            y = self.reduce[name](features[name])
            x = x + upsample(y, x.shape[-1] // y.shape[-1], self.aligned)
        return self.refine(x)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
