"""BoxCaseg's losses against loops over bags, pixels and neighbours; gradients; nothing to learn from."""

import itertools
import math

import pytest
import torch

from wsis.methods.boxcaseg.losses import fuse, mil_loss, pixel_loss, smoothness


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def scene(seed=0, height=9, width=7):
    """Four patches: two boxes, a mask in two parts with soft edges, a box that the crop has lost."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, height, width, dtype=torch.float64, generator=g) * 2
    labels = torch.zeros(4, height, width)
    labels[0, 2:6, 1:5] = 1
    labels[1] = 1
    labels[2, 1:3, 1:3] = 1
    labels[2, 5:7, 4:6] = 1
    labels[2, 3, 1], labels[2, 1, 6] = 0.25, 0.75
    return logits, labels, torch.tensor([False, False, True, False])


def slow_mil(logits, labels, salient, bags, salient_bags, reduction):
    total, count = 0.0, 0
    for s, label, is_salient in zip(logits.tolist(), labels.tolist(), salient.tolist(), strict=True):
        height, width = len(s), len(s[0])
        on = [(y, x) for y in range(height) for x in range(width) if label[y][x] > 0.5]
        rows = range(min(y for y, _ in on), max(y for y, _ in on) + 1) if on else range(0)
        columns = range(min(x for _, x in on), max(x for _, x in on) + 1) if on else range(0)
        lines = [([(y, x) for x in range(width)], y in rows, columns, 1) for y in range(height)]
        lines += [([(y, x) for y in range(height)], x in columns, rows, 0) for x in range(width)]
        for pixels, in_box, other_side, axis in lines:
            target = max(label[y][x] for y, x in pixels)
            if is_salient and salient_bags == "box":
                target = float(in_box)
            bag = pixels
            if bags == "box" and target > 0.5:
                bag = [p for p in pixels if p[axis] in other_side]
            score = max(sigmoid(s[y][x]) for y, x in bag)
            total -= target * math.log(score) + (1 - target) * math.log(1 - score)
            count += 1
    return total / count if reduction == "mean" else total / len(logits)


SWITCHES = list(itertools.product(["patch", "box"], ["mask", "box"], ["mean", "sum"]))


@pytest.mark.parametrize(("bags", "salient_bags", "reduction"), SWITCHES)
def test_bags_by_loops(bags, salient_bags, reduction):
    logits, labels, salient = scene()
    found = mil_loss(logits, labels, salient, bags, salient_bags, reduction)
    assert found.item() == pytest.approx(
        slow_mil(logits, labels, salient, bags, salient_bags, reduction), rel=1e-5
    )


def test_the_switches_differ_and_only_where_they_should():
    logits, labels, salient = scene()
    values = {(b, s): mil_loss(logits, labels, salient, b, s).item() for b, s, r in SWITCHES if r == "mean"}
    assert len(set(values.values())) == 4
    one_piece = labels[[0, 1, 3]]  # a box is its own box
    rest = torch.tensor([True, True, True])
    same = [mil_loss(logits[[0, 1, 3]], one_piece, rest, "patch", s).item() for s in ("mask", "box")]
    assert same[0] == same[1]


def test_a_box_filling_its_patch_leaves_no_negative_bag():
    labels = torch.ones(1, 5, 5)
    salient = torch.zeros(1, dtype=torch.bool)
    diagonal = torch.full((1, 5, 5), -20.0) + 40 * torch.eye(5)
    for bags in ("patch", "box"):
        assert mil_loss(diagonal, labels, salient, bags).item() < 1e-6
    assert mil_loss(-diagonal.abs(), labels, salient).item() > 10


def test_a_pixel_beside_the_box_counts_for_its_row_only_in_whole_lines():
    labels = torch.zeros(1, 6, 6)
    labels[0, 2:4, 2:4] = 1
    salient = torch.zeros(1, dtype=torch.bool)
    logits = torch.full((1, 6, 6), -8.0)
    logits[0, 2, 2] = logits[0, 3, 5] = logits[0, 2, 3] = 8  # row 3 is only met outside the box
    whole = mil_loss(logits, labels, salient, "patch", reduction="sum").item()
    inside = mil_loss(logits, labels, salient, "box", reduction="sum").item()
    assert whole == pytest.approx(8, abs=0.02)  # column 5 is negative
    assert inside == pytest.approx(16, abs=0.02)  # and row 3 is missed


def slow_smoothness(logits, reduction):
    total, count = 0.0, 0
    for s in logits.tolist():
        height, width = len(s), len(s[0])
        for y, x in itertools.product(range(height), range(width)):
            for dy, dx in itertools.product((-1, 0, 1), repeat=2):
                if dy == dx == 0:
                    continue
                inside = 0 <= y + dy < height and 0 <= x + dx < width
                if not inside and reduction == "sum":
                    continue
                other = sigmoid(s[y + dy][x + dx]) if inside else 0.0
                total += (sigmoid(s[y][x]) - other) ** 2
                count += 1
    return total / count if reduction == "mean" else total / len(logits)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("size", [(9, 7), (1, 4), (1, 1)])
def test_smoothness_by_loops(reduction, size):
    logits, *_ = scene(1, *size) if size == (9, 7) else (torch.randn(3, *size),)
    found = smoothness(logits, reduction).item()
    assert found == pytest.approx(slow_smoothness(logits, reduction), rel=1e-5, abs=1e-7)


def test_means_are_the_sums_over_what_is_counted():
    logits, labels, salient = scene()
    mean, total = (mil_loss(logits, labels, salient, reduction=r).item() for r in ("mean", "sum"))
    assert total == pytest.approx(mean * (9 + 7), rel=1e-6)
    logits[:, [0, -1]], logits[:, :, [0, -1]] = -60, -60  # zeros at the border: padding changes nothing
    mean, total = (smoothness(logits, r).item() for r in ("mean", "sum"))
    assert total == pytest.approx(mean * 8 * 9 * 7, rel=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("fusion", ["logits", "probabilities"])
def test_pixel_loss_by_loops(alpha, fusion):
    a, labels, _ = scene(2)
    t = scene(3)[0]
    total = 0.0
    for x, y, m in zip(a.flatten().tolist(), t.flatten().tolist(), labels.flatten().tolist(), strict=True):
        p = alpha * sigmoid(x) + (1 - alpha) * sigmoid(y)
        if fusion == "logits":
            p = sigmoid(alpha * x + (1 - alpha) * y)
        total -= m * math.log(p) + (1 - m) * math.log(1 - p)
    found = pixel_loss(fuse(a, t, alpha, fusion), labels)
    assert found.item() == pytest.approx(total / labels.numel(), rel=1e-5)


def test_probabilities_mix_without_overflow():
    a, t = torch.tensor([200.0, -200, 200]), torch.tensor([200.0, -200, -200])
    a.requires_grad_()
    mixed = fuse(a, t, 0.7, "probabilities")
    assert mixed[2].sigmoid().item() == pytest.approx(0.7, rel=1e-5)
    assert torch.isfinite(mixed).all()
    pixel_loss(mixed, torch.tensor([0.0, 1, 0])).backward()
    assert torch.isfinite(a.grad).all()


@pytest.mark.parametrize(("bags", "salient_bags"), [("patch", "mask"), ("box", "box")])
def test_gradients_by_finite_differences(bags, salient_bags):
    logits, labels, salient = scene(4, 8, 5 + 2)
    labels = labels[:, :8]

    def value(x):
        return mil_loss(x, labels, salient, bags, salient_bags, "sum") + smoothness(x, "sum")

    x = logits.clone().requires_grad_()
    value(x).backward()
    assert torch.isfinite(x.grad).all()
    for index in [(0, 2, 1), (0, 7, 6), (1, 0, 0), (2, 4, 3), (2, 5, 4), (3, 7, 0)]:
        moved = [logits.clone(), logits.clone()]
        moved[0][index] -= 1e-2
        moved[1][index] += 1e-2
        low, high = (value(m).item() for m in moved)
        assert x.grad[index].item() == pytest.approx((high - low) / 2e-2, abs=2e-3)


def test_a_bag_teaches_its_best_pixel_alone():
    logits, labels, salient = scene()
    x = logits.clone().requires_grad_()
    mil_loss(x, labels, salient).backward()
    assert (x.grad != 0).flatten(1).sum(1).max() <= 9 + 7


def test_without_patches_every_term_is_zero_with_a_gradient_path():
    x = torch.zeros(0, 4, 4, requires_grad=True)
    empty = torch.zeros(0, 4, 4)
    none = torch.zeros(0, dtype=torch.bool)
    for bags, reduction in itertools.product(("patch", "box"), ("mean", "sum")):
        total = mil_loss(x, empty, none, bags, reduction=reduction) + smoothness(x, reduction)
        total = total + pixel_loss(fuse(x, x, 0.5, "probabilities"), empty)
        assert total.item() == 0
        total.backward()


def test_half_precision_logits_are_summed_in_float32():
    logits, labels, salient = scene()
    half = logits.to(torch.bfloat16)
    for value in (mil_loss(half, labels, salient), smoothness(half), pixel_loss(half, labels)):
        assert value.dtype == torch.float32
