"""Contours drawn by hand and by loops; the balanced boundary loss against Eq. 1 pixel by pixel."""

import itertools
import math

import pytest
import torch

from wsis.methods.baiseg.boundary_loss import boundary_loss, contours

FOUR = ((0, 1), (1, 0), (0, -1), (-1, 0))


def drawn(*rows):
    """A map from its picture: '.' 0, digits themselves, '#' void (255)."""
    values = {".": 0, "#": 255}
    return torch.tensor([[values[c] if c in values else int(c) for c in row] for row in rows])[None]


def picture(mask):
    return ["".join("x" if on else "." for on in row) for row in mask[0].tolist()]


def slow_contours(labels, void, margin):
    """Looks at each pixel's neighbours."""
    edge, valid = torch.zeros_like(labels, dtype=torch.bool), torch.zeros_like(labels, dtype=torch.bool)
    for b, rows in enumerate(labels.tolist()):
        places = set(itertools.product(range(len(rows)), range(len(rows[0]))))
        for y, x in places:
            around = [rows[y + dy][x + dx] for dy, dx in FOUR if (y + dy, x + dx) in places]
            own = rows[y][x]
            edge[b, y, x] = own != void and any(n not in (own, void) for n in around)
            square = itertools.product(range(y - margin, y + margin + 1), range(x - margin, x + margin + 1))
            valid[b, y, x] = all(rows[v][u] != void for v, u in square if (v, u) in places)
    return edge, valid


def test_a_contour_is_two_pixels_thick():
    edge, valid = contours(drawn("......", "..11..", "..11..", "......", "......"))
    assert picture(edge) == ["..xx..", ".xxxx.", ".xxxx.", "..xx..", "......"]
    assert valid.all()


def test_touching_classes_have_a_contour_and_touching_objects_of_one_class_have_none():
    edge, _ = contours(drawn("111222", "111222"))
    assert picture(edge) == ["..xx..", "..xx.."]
    assert not contours(drawn("1111", "1111"))[0].any()


def test_diagonal_neighbours_are_no_neighbours():
    edge, _ = contours(drawn("1..", "...", "..."))
    assert picture(edge) == ["xx.", "x..", "..."]


def test_a_change_to_void_is_no_contour_and_its_surroundings_are_not_valid():
    edge, valid = contours(drawn("11#.......1", "11#.......1"))
    assert picture(edge) == [".........xx"] * 2
    assert picture(valid) == ["......xxxxx"] * 2


def test_void_reaches_three_pixels_in_all_directions():
    labels = torch.zeros(1, 11, 11, dtype=torch.uint8)
    labels[0, 5, 5] = 255
    edge, valid = contours(labels)
    assert not edge.any()
    assert (~valid).sum() == 49
    assert not valid[0, 2:9, 2:9].any()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
@pytest.mark.parametrize("size", [(13, 17), (1, 9), (9, 1), (1, 1)])
def test_contours_by_loops(dtype, size):
    generator = torch.Generator().manual_seed(size[0])
    labels = torch.randint(0, 3, (4, *size), generator=generator)
    labels[torch.rand(4, *size, generator=generator) < 0.02] = 255
    labels[0], labels[1] = 255, labels[1].clamp(max=2)
    found = contours(labels.to(dtype))
    for ours, slow in zip(found, slow_contours(labels, 255, 3), strict=True):
        assert torch.equal(ours, slow)


def test_instance_maps_have_no_void():
    instances = torch.tensor([[[0, 255, 255, 300]]], dtype=torch.int16)
    edge, valid = contours(instances, void=-1)
    assert edge.tolist() == [[[True, True, True, True]]]
    assert valid.all()


def scene(seed=0):
    """Four maps' contours: with void, without an edge, all void, without void; and logits for them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.zeros(4, 12, 14, dtype=torch.uint8)
    labels[0, 2:9, 3:8], labels[0, 10:, 12:] = 1, 255
    labels[2] = 255
    labels[3, :6], labels[3, 6:, 4:] = 2, 3
    logits = torch.randn(4, 12, 14, generator=generator, dtype=torch.float64) * 3
    return logits, *contours(labels)


def slow_loss(logits, edge, valid):
    """Eq. 1 with the mean over an image's valid pixels in place of its sum."""
    images = []
    for s, y, v in zip(logits.tolist(), edge.tolist(), valid.tolist(), strict=True):
        places = [(i, j) for i in range(len(s)) for j in range(len(s[0])) if v[i][j]]
        if not places:
            continue
        positive = sum(y[i][j] for i, j in places)
        negative = len(places) - positive
        alpha = negative / (negative + positive)
        total = 0.0
        for i, j in places:
            b = 1 / (1 + math.exp(-s[i][j]))
            total -= y[i][j] * alpha * math.log(b) + (1 - y[i][j]) * (1 - alpha) * math.log(1 - b)
        images.append(total / len(places))
    return sum(images) / len(images)


def test_eq_1_by_loops():
    logits, edge, valid = scene()
    assert valid[0].any() and not valid[0].all()
    assert boundary_loss(logits, edge, valid).item() == pytest.approx(
        slow_loss(logits, edge, valid), rel=1e-5
    )


def test_both_classes_weigh_the_same_when_nothing_is_known():
    _, edge, valid = scene()
    x = torch.zeros(4, 12, 14, requires_grad=True)
    loss = boundary_loss(x[3:], edge[3:], valid[3:])
    f = edge[3].float().mean().item()
    assert loss.item() == pytest.approx(2 * math.log(2) * f * (1 - f), rel=1e-5)
    loss.backward()
    assert x.grad[edge].sum().item() == pytest.approx(-x.grad[~edge].sum().item(), rel=1e-4)


def test_gradients_against_differences():
    logits, edge, valid = scene(1)
    edge[:, 0, 0] = True
    x = logits[[0, 3], :4, :4].clone().requires_grad_()
    y, v = edge[[0, 3], :4, :4], valid[[0, 3], :4, :4]
    boundary_loss(x, y, v).backward()
    for index in [(0, 0, 0), (0, 2, 3), (1, 1, 1), (1, 0, 3)]:
        moved = x.detach().clone()
        moved[index] += 1e-4
        high = slow_loss(moved, y, v)
        moved[index] -= 2e-4
        assert x.grad[index].item() == pytest.approx(
            (high - slow_loss(moved, y, v)) / 2e-4, rel=1e-3, abs=1e-7
        )


def test_invalid_pixels_and_the_order_of_images_do_not_matter():
    logits, edge, valid = scene()
    value = boundary_loss(logits, edge, valid)
    wild = torch.where(valid, logits, torch.full_like(logits, torch.nan)).requires_grad_()
    again = boundary_loss(wild, edge ^ ~valid, valid)
    assert again.item() == value.item()
    again.backward()
    assert (wild.grad[~valid] == 0).all() and (wild.grad[0][valid[0]] != 0).all()
    order = [2, 0, 3, 1]
    assert boundary_loss(logits[order], edge[order], valid[order]).item() == pytest.approx(
        value.item(), rel=1e-6
    )


def test_an_image_that_is_all_void_does_not_count():
    logits, edge, valid = scene()
    rest = [0, 1, 3]
    whole, without = (boundary_loss(logits[i], edge[i], valid[i]).item() for i in ([0, 1, 2, 3], rest))
    assert whole == pytest.approx(without, rel=1e-6)


@pytest.mark.parametrize("images", [[1], [2], [1, 2], []])
def test_nothing_to_learn_from(images):
    logits, edge, valid = scene()
    x = logits.clone().requires_grad_()
    value = boundary_loss(x[images], edge[images], valid[images])
    value.backward()
    assert value.item() == 0
    assert (x.grad == 0).all()


def test_an_image_of_edges_alone_teaches_nothing():
    edge = torch.ones(1, 4, 4, dtype=torch.bool)
    assert boundary_loss(torch.randn(1, 4, 4), edge, edge).item() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits(dtype):
    logits, edge, valid = scene()
    half = (logits * 20).to(dtype)  # log(1 - sigmoid) of these overflows in half precision
    value = boundary_loss(half, edge, valid)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(boundary_loss(half.float(), edge, valid).item(), rel=1e-6)


def test_the_device_is_never_waited_for():
    labels = torch.zeros(2, 8, 8, dtype=torch.uint8, device="meta")  # no values to ask for
    assert boundary_loss(torch.zeros(2, 8, 8, device="meta"), *contours(labels)).shape == ()
