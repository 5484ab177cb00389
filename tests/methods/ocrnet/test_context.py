"""The head against its equations written out with loops, and the network's size against the published one."""

from __future__ import annotations

import torch

from tests.methods.ocrnet.scenes import recipe
from wsis.methods.ocrnet.context import ContextHead, ObjectContext, representations
from wsis.methods.ocrnet.method import OCRNet
from wsis.methods.ocrnet.spec import OcrnetSpec

B, C, D, K, H, W = 2, 6, 8, 4, 3, 5


def features(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_a_region_is_the_mean_of_its_pixels_weighted_by_their_degrees():
    pixels, regions = features(B, D, H, W), features(B, K, H, W)
    found = representations(pixels, regions)
    for b in range(B):
        for k in range(K):
            weights = [float(regions[b, k, y, x].exp()) for y in range(H) for x in range(W)]
            cells = [pixels[b, :, y, x] for y in range(H) for x in range(W)]
            mean = sum(w * cell for w, cell in zip(weights, cells, strict=True)) / sum(weights)
            assert torch.allclose(found[b, :, k], mean, atol=1e-5)


@torch.no_grad()
def test_a_pixel_sees_the_regions_by_their_likeness():
    context = ObjectContext(D, 4).eval()
    pixels, regions = features(B, D, H, W), features(B, D, K)
    found = context(pixels, regions)

    def at(part: torch.nn.Module, vector: torch.Tensor) -> torch.Tensor:
        return part(vector[None, :, None, None])[0, :, 0, 0]

    for b, y, x in ((0, 0, 0), (0, 2, 4), (1, 1, 3)):
        query = at(context.phi, pixels[b, :, y, x])
        likeness = [float(query @ at(context.psi, regions[b, :, k])) / 4**0.5 for k in range(K)]
        total = sum(torch.tensor(likeness).exp().tolist())
        seen = sum(
            torch.tensor(value).exp() / total * at(context.delta, regions[b, :, k])
            for k, value in enumerate(likeness)
        )
        assert torch.allclose(found[b, :, y, x], at(context.rho, seen), atol=1e-5)


def test_images_of_a_batch_do_not_see_each_other():
    head = ContextHead(C, K, OcrnetSpec(channels=D, key=4)).eval()
    both = features(B, C, H, W)
    for whole, first in zip(head(both), head(both[:1]), strict=True):
        assert whole.shape == (B, K, H, W)
        assert torch.allclose(whole[:1], first, atol=1e-6)


def test_the_network_has_as_many_parameters_as_the_published_one():
    """70.3 million with the 19 classes of Cityscapes."""
    net = OCRNet(recipe("hrnetv2-w48", channels=512, key=256), 18)
    assert sum(p.numel() for p in net.parameters()) == 70_372_678
