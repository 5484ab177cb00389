"""The weighted contrast against Eq. 6 in loops; what is sampled against the rules it is sampled by."""

import math
from contextlib import nullcontext

import pytest
import torch

from wsis.errors import WsisError
from wsis.methods.baiseg.boundary_loss import contours
from wsis.methods.baiseg.contrast import Sampled, cell_labels, contrast_loss, sample_cells, weighted_contrast
from wsis.methods.baiseg.spec import BaisegSpec


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def points(count=9, edges=4, used=None, seed=0):
    vectors = torch.randn(count, 5, generator=seeded(seed), dtype=torch.float64)
    edge = torch.arange(count) < edges
    return vectors, edge, torch.ones(count, dtype=torch.bool) if used is None else used


def slow_eq_6(vectors, edge, used, alpha, temperature):
    """Mean over anchors of Eq. 6; for background anchors with 1 - alpha in alpha's place."""
    units = [[v / math.sqrt(sum(u * u for u in row)) for v in row] for row in vectors.tolist()]
    members = [i for i, u in enumerate(used.tolist()) if u]
    edge = edge.tolist()

    def e(i, j):
        return math.exp(sum(a * b for a, b in zip(units[i], units[j], strict=True)) / temperature)

    anchors = []
    for i in members:
        positives = [j for j in members if j != i and edge[j] == edge[i]]
        negatives = [j for j in members if edge[j] != edge[i]]
        if not positives:
            continue
        a = alpha if edge[i] else 1 - alpha
        below = (1 - a) * sum(e(i, n) for n in negatives)
        anchors.append(sum(-a * math.log(e(i, p) / (e(i, p) + below)) for p in positives) / len(positives))
    return sum(anchors) / len(anchors)


@pytest.mark.parametrize("alpha", [0.98, 0.5, 0.2])
@pytest.mark.parametrize("temperature", [0.1, 0.2, 0.8])
def test_eq_6_by_loops(alpha, temperature):
    used = torch.tensor([1, 1, 1, 0, 1, 1, 0, 1, 1]).bool()
    vectors, edge, used = points(used=used)
    found = weighted_contrast(vectors, edge, used, torch.tensor(1 - alpha), temperature)
    assert found.item() == pytest.approx(slow_eq_6(vectors, edge, used, alpha, temperature), rel=2e-5)


def test_an_anchor_without_positives_is_left_out():
    vectors, edge, used = points(6, 1)
    found = weighted_contrast(vectors, edge, used, torch.tensor(0.1), 0.2)
    assert found.item() == pytest.approx(slow_eq_6(vectors, edge, used, 0.9, 0.2), rel=2e-5)


def test_gradients_against_differences_and_none_along_a_vector():
    vectors, edge, used = points(7, 3, seed=3)
    used[6] = False
    x = vectors.clone().requires_grad_()
    weighted_contrast(x, edge, used, torch.tensor(0.3), 0.2).backward()
    assert (x.grad[6] == 0).all()
    assert (x.grad * vectors).sum(1).abs().max() < 1e-6  # lengths are normalised away
    for index in [(0, 0), (2, 4), (3, 1), (5, 2)]:
        moved = vectors.clone()
        moved[index] += 1e-5
        high = slow_eq_6(moved, edge, used, 0.7, 0.2)
        moved[index] -= 2e-5
        low = slow_eq_6(moved, edge, used, 0.7, 0.2)
        assert x.grad[index].item() == pytest.approx((high - low) / 2e-5, rel=1e-3, abs=1e-6)


def test_order_lengths_and_unused_slots_do_not_matter():
    vectors, edge, used = points()
    used[[2, 7]] = False
    value = weighted_contrast(vectors, edge, used, torch.tensor(0.1), 0.2).item()
    order = torch.randperm(9, generator=seeded(1))
    lengths = torch.rand(9, 1, generator=seeded(2), dtype=torch.float64) + 0.1
    again = weighted_contrast((vectors * lengths)[order], edge[order], used[order], torch.tensor(0.1), 0.2)
    assert again.item() == pytest.approx(value, rel=1e-5)
    wild = torch.where(used[:, None], vectors, 1e3)
    assert weighted_contrast(wild, edge ^ ~used, used, torch.tensor(0.1), 0.2).item() == value


def test_the_classes_are_mirror_images():
    vectors, edge, used = points()
    values = [
        weighted_contrast(vectors, e, used, torch.tensor(s), 0.2) for e, s in ((edge, 0.1), (~edge, 0.9))
    ]
    assert values[0].item() == pytest.approx(values[1].item(), rel=1e-5)


def test_a_high_temperature_sees_no_difference_and_a_low_one_only_the_worst():
    vectors, edge, used = points(8, 4)
    share, n = 0.25, 4  # four negatives for each anchor
    flat = sum(a * math.log(1 + (1 - a) * n) for a in (1 - share, share)) / 2
    found = weighted_contrast(vectors, edge, used, torch.tensor(share), 1e6)
    assert found.item() == pytest.approx(flat, rel=1e-4)
    tau = 1e-4
    units = torch.nn.functional.normalize(vectors, dim=1)
    similar = units @ units.T
    total = 0.0
    for i in range(8):
        others = [j for j in range(8) if j != i and edge[j] == edge[i]]
        worst = similar[i][edge != edge[i]].max()
        a = 1 - share if edge[i] else share
        total += a * sum((worst - similar[i][p]).clamp(min=0).item() for p in others) / len(others) / 8
    x = vectors.clone().requires_grad_()
    found = weighted_contrast(x, edge, used, torch.tensor(share), tau)
    assert found.item() * tau == pytest.approx(total, rel=1e-2)
    found.backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("edges", [0, 5])
def test_one_class_alone_has_nothing_to_leave(edges):
    vectors, edge, used = points(5, edges)
    x = vectors.clone().requires_grad_()
    value = weighted_contrast(x, edge, used, torch.tensor(edges / 5), 0.2)
    value.backward()
    assert value.item() == 0
    assert (x.grad == 0).all()


def test_cells_are_max_pooled_and_uncertain_ones_have_no_label():
    edge, valid = torch.zeros(1, 4, 8, dtype=torch.bool), torch.ones(1, 4, 8, dtype=torch.bool)
    edge[0, 1, 1] = True  # cell (0, 0): an edge
    valid[0, 0, 2] = False  # cell (0, 1): background, partly void
    edge[0, 3, 5] = True  # cell (1, 2): an edge, partly void
    valid[0, 2, 4] = False
    edge[0, 0, 7], valid[0, 0, 7] = True, False  # cell (0, 3): its edge is not valid
    on, off = cell_labels(edge, valid, (2, 4))
    assert on.tolist() == [[[True, False, False, False], [False, False, True, False]]]
    assert off.tolist() == [[[False, False, True, False], [True, True, False, True]]]
    uneven, _ = cell_labels(edge, valid, (3, 5))  # a size that does not divide: no edge is lost
    assert uneven.any()


def field(seed=0, images=4, side=12, on=0.3):
    """Random cells of both classes, a twentieth without label, and decisions wrong on a fifth."""
    g = seeded(seed)
    draw = torch.rand(images, side, side, generator=g)
    labels, labelled = draw < on, torch.rand(images, side, side, generator=g) > 0.05
    predicted = labels ^ (torch.rand(images, side, side, generator=g) < 0.2)
    return labels & labelled, ~labels & labelled, predicted


def listed(chosen: Sampled):
    """(image, edge, cell) of the slots in use."""
    rows = zip(chosen.image.tolist(), chosen.edge.tolist(), chosen.cell.tolist(), strict=True)
    return [row for row, used in zip(rows, chosen.used.tolist(), strict=True) if used]


@pytest.mark.parametrize(
    ("samples", "views"), [(1024, 10), (60, 20), (8, 100), (1024, 30), (30, 1), (1024, 5)]
)
def test_sampling_follows_the_rules(samples, views):
    on, off, predicted = field()
    predicted[1] = on[1]  # edges: all easy
    predicted[2] = ~on[2]  # all hard
    on[3].flatten()[5:] = False
    on[3].flatten()[:5] = True  # five edge cells, which are too few for five views
    off[3] &= ~on[3]
    chosen = sample_cells(on, off, predicted, samples, views, seeded())
    found = listed(chosen)
    assert len(set(found)) == len(found) <= samples
    assert len(chosen.used) <= min(samples, 2 * len(on) * views)

    counts = {}
    for b in range(len(on)):
        for edge, mask in ((True, on[b]), (False, off[b])):
            if mask.sum() > views:
                wrong = mask & (predicted[b] != edge)
                counts[b, edge] = (wrong.sum().item(), mask.sum().item() - wrong.sum().item())
    each = min(samples // len(counts), views) if counts else 0
    assert len(found) == each * len(counts)
    for (b, edge), (hard, easy) in counts.items():
        cells = [cell for image, kind, cell in found if (image, kind) == (b, edge)]
        mask = (on if edge else off)[b].flatten()
        assert mask[cells].all()
        # ContrastiveSeg's cases: half and half; what there is of one, the rest from the other
        if hard >= each / 2 and easy >= each / 2:
            expected = each // 2
        elif hard >= each / 2:
            expected = each - easy
        else:
            expected = hard
        assert (predicted[b].flatten()[cells] != edge).sum() == expected


def test_every_cell_can_be_chosen_equally_often():
    on, off, predicted = field(images=1, side=6, on=0.5)
    on[0, 3:], off[0, 3:] = False, False
    predicted = off.clone()  # all hard
    hits = torch.zeros(36)
    g = seeded(5)
    for _ in range(600):
        hits[[cell for _, edge, cell in listed(sample_cells(on, off, predicted, 8, 4, g)) if edge]] += 1
    cells = hits[on.flatten()]
    expected = 600 * 4 / len(cells)
    assert hits.sum() == 600 * 4
    assert (cells - expected).abs().max() < 5 * math.sqrt(expected)


def test_sampling_depends_on_the_generator_alone():
    on, off, predicted = field()
    first, same, other = (listed(sample_cells(on, off, predicted, 64, 8, seeded(s))) for s in (1, 1, 2))
    assert first == same != other
    g = seeded(1)
    assert listed(sample_cells(on, off, predicted, 64, 8, g)) == first
    state = g.get_state()
    g = seeded(1)
    sample_cells(off, on, ~predicted, 64, 3, g)  # as many random numbers, whatever the labels
    assert torch.equal(g.get_state(), state)


def batch(seed=0, dtype=torch.float32):
    """Embeddings at stride 2 of three label maps: with void, without edges, all void."""
    labels = torch.zeros(3, 32, 32, dtype=torch.uint8)
    labels[0, 6:22, 4:18], labels[0, 28:, 28:] = 1, 255
    labels[2] = 255
    g = seeded(seed)
    embeddings = torch.randn(3, 6, 16, 16, generator=g).to(dtype)
    return embeddings, *contours(labels), torch.randn(3, 16, 16, generator=g)


def whole(embeddings, edge, valid, logits, samples=64, views=10, seed=0):
    spec = BaisegSpec(temperature=0.2, samples=samples, views=views)
    return contrast_loss(embeddings, logits, edge, valid, spec, seeded(seed))


def test_the_loss_is_eq_6_of_what_is_sampled_with_the_batch_s_alpha():
    embeddings, edge, valid, logits = batch()
    chosen = sample_cells(*cell_labels(edge, valid, (16, 16)), logits > 0, 64, 10, seeded())
    rows = listed(chosen)
    assert len(rows) == 30  # edges of one image, background of two
    vectors = torch.stack([embeddings[b, :, c // 16, c % 16] for b, _, c in rows])
    kinds = torch.tensor([e for _, e, _ in rows])
    alpha = (valid & ~edge).sum().item() / valid.sum().item()
    expected = slow_eq_6(vectors, kinds, torch.ones(30, dtype=torch.bool), alpha, 0.2)
    assert whole(embeddings, edge, valid, logits).item() == pytest.approx(expected, rel=2e-5)


def test_void_does_not_matter():
    embeddings, edge, valid, logits = batch()
    x = embeddings.clone().requires_grad_()
    value = whole(x, edge, valid, logits)
    value.backward()
    void = torch.nn.functional.max_pool2d((~valid).float(), 2).bool()
    on, _ = cell_labels(edge, valid, (16, 16))
    assert (x.grad.abs().sum(1)[void & ~on] == 0).all()
    assert (x.grad != 0).any()
    wild = torch.where((void & ~on)[:, None], torch.nan, embeddings)
    assert whole(wild, edge ^ ~valid, valid, logits).item() == value.item()


@pytest.mark.parametrize("images", [[1], [2], [1, 2], []])
def test_without_edges_the_loss_is_zero_with_a_gradient_path(images):
    embeddings, edge, valid, logits = batch()
    x = embeddings.clone().requires_grad_()
    value = whole(x[images], edge[images], valid[images], logits[images])
    value.backward()
    assert value.item() == 0
    assert (x.grad == 0).all()


def test_classes_of_too_few_cells_leave_nothing():
    embeddings, edge, valid, logits = batch()
    x = embeddings.requires_grad_()
    value = whole(x, edge, valid, logits, samples=1024, views=256)  # of 256 cells
    value.backward()
    assert value.item() == 0
    assert (x.grad == 0).all()


def test_logits_choose_but_do_not_learn():
    embeddings, edge, valid, logits = batch()
    logits = logits.requires_grad_()
    assert not whole(embeddings, edge, valid, logits).requires_grad
    all_easy_background = whole(embeddings, edge, valid, logits - 100).item()
    assert whole(embeddings, edge, valid, logits).item() != all_easy_background


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_embeddings(dtype):
    embeddings, edge, valid, logits = batch(dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        value = whole(embeddings, edge, valid, logits.to(dtype))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(whole(embeddings.float(), edge, valid, logits).item(), rel=1e-6)


def test_fewer_samples_than_classes_are_refused():
    embeddings, edge, valid, logits = batch()
    with pytest.raises(WsisError, match=r"5 samples .* baiseg\.samples to 6"):
        whole(embeddings, edge, valid, logits, samples=5)


def test_the_device_is_never_waited_for(monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which does not know "meta"
    on_meta = [t.to("meta") for t in batch()]  # no values to ask for
    assert whole(*on_meta).shape == ()
