"""Mask losses on pseudo labels against loops over pixels, written from the paper and the released form."""

import math
from types import SimpleNamespace

import pytest
import torch

from wsis.methods.sim import losses as pseudo_mask
from wsis.methods.sim.losses import mask_terms, paste_loss, pseudo_loss


def settings(**changes):
    keys = {"mask_loss": "bce+dice", "average": "positives", "paste_average": "pasted"}
    return SimpleNamespace(**keys | changes)


RELEASED = settings(mask_loss="focal", average="pooled", paste_average="all")


def scene(seed, count=4, height=6, width=7, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    return {
        "logits": torch.randn(count, height, width, generator=g, dtype=dtype) * 3,
        "target": torch.rand(count, height, width, generator=g) > 0.6,
        "weight": torch.rand(count, height, width, generator=g) > 0.4,
    }


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def cells(logits, target, weight):
    """(p, t) of the labelled cells of one instance."""
    rows = zip(logits.flatten().tolist(), target.flatten().tolist(), weight.flatten().tolist(), strict=True)
    return [(sigmoid(z), float(t)) for z, t, w in rows if w]


def slow_bce(pairs):
    return [-(t * math.log(p) + (1 - t) * math.log(1 - p)) for p, t in pairs]


def slow_dice(pairs):
    overlap = sum(p * t for p, t in pairs)
    return 1 - 2 * overlap / (sum(p * p for p, _ in pairs) + sum(t * t for _, t in pairs) + 1e-5)


def slow_focal(pairs):
    """alpha (1 - p_t)^2 CE, where CE squashes the probability once more."""
    values = []
    for p, t in pairs:
        twice = sigmoid(p)
        ce = -math.log(twice) if t else -math.log(1 - twice)
        p_t = p if t else 1 - p
        values.append((0.25 if t else 0.75) * (1 - p_t) ** 2 * ce)
    return values


def slow_l_mask(pairs):
    """BCE + dice of one instance (text below Eq. 8)."""
    return sum(slow_bce(pairs)) / len(pairs) + slow_dice(pairs) if pairs else 0.0


@pytest.mark.parametrize("seed", range(4))
def test_eq_8_by_loops(seed):
    s = scene(seed)
    each = [slow_l_mask(cells(*maps)) for maps in zip(s["logits"], s["target"], s["weight"], strict=True)]
    expected = sum(each) / len(each)  # 1 / N_pos
    assert pseudo_loss(**s, spec=settings()).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_released_pseudo_loss_by_loops(seed):
    """Focal with two sigmoids, sum of W loss over sum of W + 1, pooled over the instances."""
    s = scene(seed)
    pairs = [cells(*maps) for maps in zip(s["logits"], s["target"], s["weight"], strict=True)]
    expected = sum(map(sum, map(slow_focal, pairs))) / (sum(map(len, pairs)) + 1)
    assert pseudo_loss(**s, spec=RELEASED).item() == pytest.approx(expected, rel=1e-5)


def test_the_other_two_combinations():
    s = scene(9)
    pairs = [cells(*maps) for maps in zip(s["logits"], s["target"], s["weight"], strict=True)]
    pooled = sum(map(sum, map(slow_bce, pairs))) / (sum(map(len, pairs)) + 1)
    pooled += sum(map(slow_dice, pairs)) / len(pairs)
    assert pseudo_loss(**s, spec=settings(average="pooled")).item() == pytest.approx(pooled, rel=1e-5)
    single = sum(sum(slow_focal(own)) / len(own) for own in pairs) / len(pairs)
    assert pseudo_loss(**s, spec=settings(mask_loss="focal")).item() == pytest.approx(single, rel=1e-5)


def regions(s, seed):
    """The scene's labelled cells of each instance, inside and outside of a box, and the boxes."""
    inside = torch.zeros_like(s["weight"])
    for k, box in enumerate(inside):
        box[k % 3 : 4, 1 : 3 + (k + seed) % 4] = True
    each = [
        [cells(z, t, w & b) for b in (box, ~box)]
        for z, t, w, box in zip(s["logits"], s["target"], s["weight"], inside, strict=True)
    ]
    return each, inside


@pytest.mark.parametrize("seed", range(3))
def test_inside_and_outside_of_the_box_apart_by_loops(seed):
    """A mean over W inside plus one over W outside, of each instance; Dice over both together."""
    s = scene(seed)
    each, inside = regions(s, seed)
    expected = sum(
        sum(sum(slow_bce(part)) / len(part) for part in own if part) + slow_dice(own[0] + own[1])
        for own in each
    )
    found = pseudo_loss(**s, spec=settings(), inside=inside)
    assert found.item() == pytest.approx(expected / len(each), rel=1e-5)
    pooled = sum(
        sum(map(sum, map(slow_focal, part))) / (sum(map(len, part)) + 1) for part in zip(*each, strict=True)
    )
    assert pseudo_loss(**s, spec=RELEASED, inside=inside).item() == pytest.approx(pooled, rel=1e-5)


def test_a_small_object_is_not_drowned_by_what_is_certain_outside():
    """Of 42 cells 4 lie in the box: apart they weigh half of the cells' loss, together a tenth."""
    inside = torch.zeros(1, 6, 7, dtype=torch.bool)
    inside[:, 2:4, 2:4] = True
    shares = []
    for box in (None, inside):
        logits = torch.zeros(1, 6, 7, requires_grad=True)
        weight = torch.ones_like(inside)
        loss = pseudo_loss(logits, inside, weight, settings(), None, box)
        (loss - mask_terms(logits, inside, weight, "bce+dice").dice().mean()).backward()
        size = logits.grad.abs()
        shares.append((size[inside].sum() / size.sum()).item())
    assert shares == pytest.approx([4 / 42, 1 / 2])


@pytest.mark.parametrize(
    ("p", "positive", "once", "twice"), [(0.02, True, 0.94, 0.16), (0.98, False, 2.82, 0.94)]
)
def test_two_sigmoids_push_confident_errors_less(p, positive, once, twice):
    error = 1 - p if positive else p
    focal = (0.25 if positive else 0.75) * error**2 * -math.log(1 - error)
    assert focal == pytest.approx(once, abs=0.005)
    logits = torch.tensor(math.log(p / (1 - p))).view(1, 1, 1)
    value = mask_terms(logits, torch.tensor(positive).view(1, 1, 1), None, "focal").cells.item()
    assert value == pytest.approx(twice, abs=0.005)
    assert value < focal


@pytest.mark.parametrize("positive", [True, False])
def test_two_sigmoids_keep_the_minimum_at_the_label(positive):
    logits = torch.linspace(-12, 12, 200).view(200, 1, 1)
    values = mask_terms(logits, torch.full((200, 1, 1), positive), None, "focal").cells
    assert ((values.diff() < 0) == positive).all()
    assert values.min().item() < 1e-6


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("paste_average", ["pasted", "all"])
def test_eq_9_by_loops(seed, paste_average):
    """Whole image; "all" divides the dice by all instances, the others adding that of two empty masks."""
    s = scene(seed)
    del s["weight"]
    pasted = torch.tensor([False, True, True, False])
    everything = torch.ones(6, 7, dtype=torch.bool)
    bce, dice = [], []
    for z, t, flag in zip(*s.values(), pasted.tolist(), strict=True):
        pairs = cells(z, t, everything)
        if flag:
            bce.append(sum(slow_bce(pairs)) / len(pairs))
            dice.append(slow_dice(pairs))
        elif paste_average == "all":
            dice.append(1.0)
    expected = sum(bce) / len(bce) + sum(dice) / len(dice)
    value = paste_loss(**s, spec=settings(paste_average=paste_average), pasted=pasted)
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_released_paste_loss_by_loops():
    """Focal over the pixels of the pasted, plus dice averaged over all: masked out, the others cost 1."""
    s = scene(5, count=5)
    pasted = torch.tensor([False, False, True, False, True])
    everything = torch.ones(6, 7, dtype=torch.bool)
    pairs = [cells(z, t, everything) for z, t in zip(s["logits"], s["target"], strict=True)]
    chosen = [own for own, flag in zip(pairs, pasted, strict=True) if flag]
    expected = sum(map(sum, map(slow_focal, chosen))) / (sum(map(len, chosen)) + 1)
    masked = [
        [(p * flag, t * flag) for p, t in own] for own, flag in zip(pairs, pasted.tolist(), strict=True)
    ]
    expected += sum(map(slow_dice, masked)) / 5
    del s["weight"]
    logits = s.pop("logits").requires_grad_()
    value = paste_loss(logits, **s, spec=RELEASED, pasted=pasted)
    assert value.item() == pytest.approx(expected, rel=1e-5)
    value.backward()
    assert (logits.grad.flatten(1).abs().sum(1) > 0).tolist() == pasted.tolist()


def test_the_average_over_all_dilutes_the_gradient_of_dice_only():
    s = scene(6)
    del s["weight"]
    pasted = torch.tensor([True, False, False, True])

    def gradient(average, kind):
        logits = s["logits"].clone().requires_grad_()
        spec = settings(paste_average=average, average="pooled", mask_loss=kind)
        paste_loss(logits, s["target"], spec, pasted).backward()
        return logits.grad

    of_cells = s["logits"].clone().requires_grad_()
    terms = mask_terms(of_cells[pasted], s["target"][pasted], None, "bce+dice")
    (terms.cells.sum() / (terms.count.sum() + 1)).backward()
    pasted_only, over_all = gradient("pasted", "bce+dice"), gradient("all", "bce+dice")
    torch.testing.assert_close(over_all - of_cells.grad, (pasted_only - of_cells.grad) / 2)


def test_the_control_pushes_outside_as_a_mask_of_half_the_box_would():
    """The dice of a mask that is right in half of the box's cells, with only the cells outside labelled."""
    logits = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(3)).requires_grad_()
    box = torch.zeros(1, 8, 8, dtype=torch.bool)
    box[:, 2:6, 2:6] = True
    granted = torch.tensor([8.0])
    value = pseudo_loss(logits, torch.zeros_like(box), ~box, settings(), granted)
    outside = logits.sigmoid()[~box]
    bce = -(1 - outside).log().mean()
    squares = (outside * outside).sum()
    dice = 1 - 2 * 8 / (8 + squares + 8 + 1e-5)
    torch.testing.assert_close(value, bce + dice)
    value.backward()
    assert (logits.grad[box] == 0).all() and (logits.grad[~box] > 0).all()


def plain_terms(logits, target, weight, kind):
    """The same sums, left to autograd."""
    p, t = logits.sigmoid(), target.to(logits.dtype)
    w = torch.ones_like(p) if weight is None else weight.to(logits.dtype)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        p if kind == "focal" else logits, t, reduction="none"
    )
    if kind == "focal":
        p_t = p * t + (1 - p) * (1 - t)
        loss = (0.25 * t + 0.75 * (1 - t)) * (1 - p_t) ** 2 * loss
    overlap, total = (w * p * t).sum((1, 2)), (w * (p * p + t)).sum((1, 2))
    return (w * loss).sum((1, 2)), 1 - 2 * overlap / (total + 1e-5)


@pytest.mark.parametrize("kind", ["bce+dice", "focal"])
@pytest.mark.parametrize("whole", [True, False])
def test_gradient(kind, whole, monkeypatch):
    """By finite differences, and equal to autograd's; in chunks of two instances and a last one of one."""
    monkeypatch.setattr(pseudo_mask, "CHUNK", 2 * 5 * 4)
    s = scene(7, count=5, height=5, width=4, dtype=torch.float64)
    weight = None if whole else s["weight"]
    logits = s["logits"].requires_grad_()

    def sums(z):
        terms = mask_terms(z, s["target"], weight, kind)
        return terms.cells, terms.dice()

    assert torch.autograd.gradcheck(sums, (logits,))
    pull = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    results = []
    for values in (sums(logits), plain_terms(logits, s["target"], weight, kind)):
        (gradient,) = torch.autograd.grad((torch.stack(values) * pull).sum(), logits)
        results.append((*values, gradient))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("spec", [settings(), RELEASED])
def test_unlabelled_cells_count_for_nothing(spec):
    """Neither their logits, however bad, nor their labels; and they get no gradient."""
    s = scene(8)
    values = []
    for seed, bad in [(0, 4.0), (1, torch.nan)]:
        noise = torch.rand(s["target"].shape, generator=torch.Generator().manual_seed(seed)) > 0.5
        logits = torch.where(s["weight"], s["logits"], bad).requires_grad_()
        target = torch.where(s["weight"], s["target"], noise)
        value = pseudo_loss(logits, target, s["weight"], spec)
        value.backward()
        assert (logits.grad[~s["weight"]] == 0).all()
        assert (logits.grad[s["weight"]] != 0).all()
        values.append((value.detach(), logits.grad))
    torch.testing.assert_close(*values)


@pytest.mark.parametrize("spec", [settings(), settings(average="pooled"), RELEASED])
def test_an_instance_without_labels_adds_nothing(spec):
    s = scene(10)
    s["weight"][2] = False
    logits = s["logits"].requires_grad_()
    pseudo_loss(**s, spec=spec).backward()
    assert (logits.grad[2] == 0).all()
    terms = mask_terms(logits, s["target"], s["weight"], spec.mask_loss)
    assert (terms.cells[2].item(), terms.count[2].item(), terms.dice()[2].item()) == (0, 0, 0)

    nothing = torch.zeros_like(s["weight"])
    value = pseudo_loss(logits, s["target"], nothing, spec)
    assert value.item() == 0
    (gradient,) = torch.autograd.grad(value, logits)
    assert (gradient == 0).all()


@pytest.mark.parametrize("spec", [settings(), RELEASED])
def test_no_instances_and_nothing_pasted(spec):
    logits = torch.zeros(0, 3, 4, requires_grad=True)
    target = torch.zeros(0, 3, 4, dtype=torch.bool)
    value = pseudo_loss(logits, target, target, spec)
    value.backward()
    assert value.item() == 0
    assert mask_terms(logits, target, None, spec.mask_loss).dice().shape == (0,)
    assert paste_loss(logits, target, spec, torch.zeros(0, dtype=torch.bool)).item() == 0

    s = scene(11)
    logits = s["logits"].requires_grad_()
    value = paste_loss(logits, s["target"], spec, torch.zeros(4, dtype=torch.bool))
    value.backward()
    assert value.item() == 0
    assert (logits.grad == 0).all()


def test_perfect_masks_cost_nothing_and_inverted_ones_most():
    s = scene(12)
    perfect = torch.where(s["target"], 40.0, -40.0)
    rest = (s["target"], s["weight"], settings())
    assert pseudo_loss(perfect, *rest).item() == pytest.approx(0, abs=1e-4)
    assert pseudo_loss(-perfect, *rest).item() == pytest.approx(40 + 1, rel=1e-5)


@pytest.mark.parametrize("kind", ["bce+dice", "focal"])
def test_half_precision_logits_are_summed_in_float32(kind):
    s = scene(13, count=2, height=60, width=70)
    half = s["logits"].bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        terms = mask_terms(half, s["target"], s["weight"], kind)
    expected = mask_terms(half.detach().float(), s["target"], s["weight"], kind)
    assert terms.cells.dtype == terms.dice().dtype == torch.float32
    torch.testing.assert_close((terms.cells, terms.dice()), (expected.cells, expected.dice()))
    (terms.cells.sum() + terms.dice().sum()).backward()
    assert half.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("spec", [settings(), RELEASED])
def test_no_map_but_the_arguments_is_kept_for_the_gradient(spec):
    s = scene(14, count=8, height=30, width=40)
    logits = s["logits"].requires_grad_()
    own = {tensor.data_ptr() for tensor in (logits, s["target"], s["weight"])}
    kept = []

    def pack(tensor):
        if tensor.data_ptr() not in own:
            kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = pseudo_loss(**s, spec=spec)
    value.backward()
    assert all(numel <= 8 for numel in kept)
