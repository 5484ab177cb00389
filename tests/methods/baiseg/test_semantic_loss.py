"""The semantic loss against a sorted list of each pixel's cross entropy."""

import math

import pytest
import torch

from wsis.methods.baiseg.semantic_loss import semantic_loss


def scene(seed=0, void=0.2):
    """Three maps of two classes and background: some void, all void, some void."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 3, 7, 9, generator=generator, dtype=torch.float64) * 2
    semantic = torch.randint(0, 3, (3, 7, 9), generator=generator).to(torch.uint8)
    semantic[torch.rand(3, 7, 9, generator=generator) < void] = 255
    semantic[1] = 255
    return logits, semantic


def slow_loss(logits, semantic, hardest):
    losses = []
    for scores, labels in zip(logits.permute(0, 2, 3, 1).tolist(), semantic.tolist(), strict=True):
        for of_row, label_row in zip(scores, labels, strict=True):
            for s, label in zip(of_row, label_row, strict=True):
                if label != 255:
                    losses.append(math.log(sum(math.exp(v) for v in s)) - s[label])
    keep = max(1, round(hardest * len(losses)))
    return sum(sorted(losses)[-keep:]) / keep


@pytest.mark.parametrize("hardest", [1e-6, 0.2, 0.55, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_hardest_share_by_sorting(hardest, seed):
    logits, semantic = scene(seed)
    found = semantic_loss(logits, semantic, hardest).item()
    assert found == pytest.approx(slow_loss(logits, semantic, hardest), rel=1e-5)


def test_only_the_hardest_pixels_of_the_batch_learn():
    logits, semantic = scene()
    easy = torch.nn.functional.one_hot(semantic[2].long().clamp(max=2), 3).permute(2, 0, 1)
    logits[2] = 9.0 * easy  # all others are harder
    x = logits.clone().requires_grad_()
    semantic_loss(x, semantic, 0.2).backward()
    learns = (x.grad != 0).any(1)
    assert learns.sum() == round(0.2 * (semantic != 255).sum().item())
    assert not learns[1:].any() and not learns[semantic == 255].any()
    assert x.grad.sum(1).abs().max() < 1e-6


def test_gradients_against_differences():
    logits, semantic = scene(2)
    x = logits.clone().requires_grad_()
    semantic_loss(x, semantic, 1.0).backward()
    for index in [(0, 0, 0, 0), (0, 2, 3, 4), (2, 1, 6, 8), (1, 0, 0, 0)]:
        moved = logits.clone()
        moved[index] += 1e-4
        high = slow_loss(moved, semantic, 1.0)
        moved[index] -= 2e-4
        low = slow_loss(moved, semantic, 1.0)
        assert x.grad[index].item() == pytest.approx((high - low) / 2e-4, rel=1e-3, abs=1e-8)


def test_void_pixels_and_the_order_of_images_do_not_matter():
    logits, semantic = scene()
    value = semantic_loss(logits, semantic, 0.2).item()
    wild = torch.where((semantic == 255)[:, None], logits.flip(1) * 30, logits)
    assert semantic_loss(wild, semantic, 0.2).item() == value
    order = [2, 0, 1]
    assert semantic_loss(logits[order], semantic[order], 0.2).item() == pytest.approx(value, rel=1e-6)
    assert semantic_loss(logits[[0, 2]], semantic[[0, 2]], 0.2).item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("images", [[1], []])
def test_nothing_to_learn_from(images):
    logits, semantic = scene()
    x = logits.clone().requires_grad_()
    value = semantic_loss(x[images], semantic[images], 0.2)
    value.backward()
    assert value.item() == 0
    assert (x.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits(dtype):
    logits, semantic = scene()
    half = logits.to(dtype)
    value = semantic_loss(half, semantic, 0.2)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(slow_loss(half.double(), semantic, 0.2), rel=1e-5)


def test_the_device_is_never_waited_for():
    logits = torch.zeros(2, 3, 4, 4, device="meta")  # no values to ask for
    assert semantic_loss(logits, torch.zeros(2, 4, 4, dtype=torch.uint8, device="meta"), 0.2).shape == ()
