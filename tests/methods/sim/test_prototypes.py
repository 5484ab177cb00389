"""Prototypes: Eqs. 1 to 5 written out in loops, their switches, and several processes."""

import math
from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
import torch.nn.functional as F

from wsis.methods.sim.prototypes import Prototypes, capped
from wsis.methods.sim.spec import SimSpec

PAPER = {"prototype_norm": "channels", "assign": "argmax"}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make(classes, dim, seed=0, **keys):
    torch.manual_seed(seed)
    return Prototypes(classes, dim, SimSpec(**{**PAPER, **keys}))


def unit(*shape, seed=0, dim=-1):
    return F.normalize(torch.randn(*shape, generator=generator(seed)), dim=dim)


def some_labels(count, classes, seed=0):
    return torch.randint(classes, (count,), generator=generator(seed))


# The paper's equations, pixel by pixel in double precision.


def slow_assignment(scores, eps, iterations):
    """Q of Eqs. 2 and 3 for one class, N x L, then each pixel's largest entry."""
    kernel = np.exp(scores / eps)
    n, size = kernel.shape
    u, v = np.ones(size), np.ones(n)
    for _ in range(iterations):
        for j in range(size):
            u[j] = (1 / size) / sum(kernel[i, j] * v[i] for i in range(n))
        for i in range(n):
            v[i] = (1 / n) / sum(kernel[i, j] * u[j] for j in range(size))
    return [int(np.argmax(kernel[i] * u * v[i])) for i in range(n)]


def slow_update(vectors, updates, pixels, labels, spec):
    vectors, updates = vectors.copy(), updates.copy()
    for c in range(len(vectors)):
        members = [z for z, label in zip(pixels, labels, strict=True) if label == c]
        if not members:
            continue
        scores = np.array([[z @ p for p in vectors[c]] for z in members])
        chosen = slow_assignment(scores, spec.sinkhorn_eps, spec.sinkhorn_iterations)
        for j in range(vectors.shape[1]):
            own = [z for z, k in zip(members, chosen, strict=True) if k == j]
            if not own:
                continue
            centroid = sum(own) / len(own)  # Eq. 5
            n = updates[c, j]
            m = min(spec.prototype_momentum, n / (n + 1))
            moved = m * vectors[c, j] + (1 - m) * centroid  # Eq. 4
            vectors[c, j] = moved / np.linalg.norm(moved)
            updates[c, j] += 1
    return vectors, updates


@pytest.mark.parametrize("prototypes", [1, 4])
def test_update_equals_the_equations_in_loops(prototypes):
    model = make(3, 6, prototypes=prototypes, prototype_momentum=0.6)
    vectors, updates = model.vectors.double().numpy(), model.updates.numpy().copy()
    for step in range(4):
        pixels, labels = unit(50, 6, seed=step), some_labels(50, 3, seed=step)
        labels[labels == step % 3] = 0  # not every class in every step
        model.update(pixels, labels, generator())
        vectors, updates = slow_update(vectors, updates, pixels.double().numpy(), labels.tolist(), model.spec)
        np.testing.assert_allclose(model.vectors.numpy(), vectors, atol=1e-5)
        np.testing.assert_array_equal(model.updates.numpy(), updates)
    torch.testing.assert_close(model.vectors.norm(dim=2), torch.ones(3, prototypes))


def test_semantic_equals_eq_1_in_loops():
    model = make(4, 5, prototypes=3, temperature=0.5)
    model.updates += 1
    features = unit(2, 5, 4, 3, seed=1, dim=1)
    image, labels = torch.tensor([0, 0, 1, 1, 0]), torch.tensor([2, 0, 2, 2, 2])
    maps, known = model.semantic(features, image, labels)
    assert maps.shape == (5, 4, 3) and known.all()
    for g in range(5):
        for y in range(4):
            for x in range(3):
                z = features[image[g], :, y, x]
                cosines = [float(z @ p) / float(p.norm()) for p in model.vectors[labels[g]]]
                assert maps[g, y, x].item() == pytest.approx(
                    1 / (1 + math.exp(-max(cosines) / 0.5)), abs=1e-6
                )


@pytest.mark.parametrize("tau", [0.1, 0.5, 1.0, 2.0, 5.0])
def test_above_one_half_is_a_positive_cosine_whatever_the_temperature(tau):
    model = make(1, 4, prototypes=1, temperature=tau)
    model.updates += 1
    features = unit(1, 4, 20, 20, seed=2, dim=1)
    maps, _ = model.semantic(features, torch.tensor([0]), torch.tensor([0]))
    cosine = torch.einsum("dyx,d->yx", features[0], model.vectors[0, 0])
    assert torch.equal(maps[0] > 0.5, cosine > 0)


def test_with_temperature_one_the_range_is_that_of_the_sigmoid_at_one():
    model = make(1, 4, prototypes=1)
    model.updates += 1
    p = model.vectors[0, 0]
    features = torch.stack([-p, p], 1)[None, :, None]  # 1 x 4 x 1 x 2
    maps, _ = model.semantic(features, torch.tensor([0]), torch.tensor([0]))
    torch.testing.assert_close(maps[0, 0], torch.tensor([0.2689, 0.7311]), rtol=0, atol=1e-4)


def test_prototypes_never_moved_do_not_take_part():
    model = make(3, 4, prototypes=3)
    features, image, labels = unit(1, 4, 5, 5, dim=1), torch.zeros(3, dtype=torch.int64), torch.arange(3)
    maps, known = model.semantic(features, image, labels)
    assert not known.any() and (maps == 0.5).all()
    model.updates[1, 2] = 1
    maps, known = model.semantic(features, image, labels)
    assert known.tolist() == [False, True, False]
    expected = torch.einsum("dyx,d->yx", features[0], model.vectors[1, 2]).sigmoid()
    torch.testing.assert_close(maps[1], expected)
    assert (maps[[0, 2]] == 0.5).all()


def test_no_objects():
    empty = torch.zeros(0, dtype=torch.int64)
    maps, known = make(3, 4).semantic(unit(2, 4, 5, 6, dim=1), empty, empty)
    assert maps.shape == (0, 5, 6) and known.shape == (0,)


def test_the_first_centroid_replaces_the_random_start_and_early_ones_weigh_the_same():
    model = make(1, 4, prototypes=1, prototype_momentum=0.75)
    steps = [F.normalize(torch.ones(10, 4) + 0.5 * unit(10, 4, seed=s), dim=1) for s in range(6)]
    label = torch.zeros(10, dtype=torch.int64)
    p = torch.zeros(4)
    for n, pixels in enumerate(steps):
        model.update(pixels, label, generator())
        m = [0, 1 / 2, 2 / 3, 3 / 4, 0.75, 0.75][n]
        p = F.normalize(m * p + (1 - m) * pixels.mean(0), dim=0)
        torch.testing.assert_close(model.vectors[0, 0], p)
    assert model.updates.item() == 6


@pytest.mark.parametrize("norm, axis", [("channels", 2), ("prototypes", 1)])
def test_the_released_centre_is_the_sum_scaled_to_unit_length(norm, axis):
    model = make(1, 4, prototypes=2, prototype_norm=norm, centre="sum", prototype_momentum=0.6)
    vectors, label = model.vectors.double(), torch.zeros(12, dtype=torch.int64)
    for n in range(4):
        pixels = unit(12, 4, seed=n)
        chosen = model.assign(pixels, label, generator())
        model.update(pixels, label, generator())
        m = min(0.6, n / (n + 1))
        for j in range(2):
            total = pixels[chosen == j].double().sum(0)
            vectors[0, j] = m * vectors[0, j] + (1 - m) * total / total.norm()
        vectors = vectors / vectors.norm(dim=axis, keepdim=True)
        torch.testing.assert_close(model.vectors.double(), vectors)


def test_the_two_centres_part_where_lengths_count():
    """A spread cluster has a short mean; over the channels that is forgotten, over the sub-centres not."""
    found = {}
    for norm in ("channels", "prototypes"):
        for centre in ("mean", "sum"):
            model = make(1, 4, prototypes=2, prototype_norm=norm, centre=centre)
            model.update(unit(12, 4), torch.zeros(12, dtype=torch.int64), generator())
            found[norm, centre] = model.vectors
    torch.testing.assert_close(found["channels", "mean"], found["channels", "sum"])
    assert (found["prototypes", "mean"] - found["prototypes", "sum"]).abs().max() > 0.05


def test_pixels_may_be_assigned_by_other_features_than_they_move_to():
    model = make(2, 4, prototypes=3)
    pixels, others, labels = unit(40, 4), unit(40, 4, seed=1), some_labels(40, 2)
    chosen = model.assign(others, labels, generator())
    assert not torch.equal(chosen, model.assign(pixels, labels, generator()))
    model.update(pixels, labels, generator(), None, others)
    for c in range(2):
        for j in range(3):
            own = pixels[(labels == c) & (chosen == j)]
            if len(own):
                torch.testing.assert_close(model.vectors[c, j], F.normalize(own.mean(0), dim=0))


def test_what_gets_no_pixels_stays_bit_by_bit():
    model = make(3, 4, prototypes=5)
    model.update(unit(30, 4), some_labels(30, 3), generator())
    vectors, updates = model.vectors.clone(), model.updates.clone()
    model.update(unit(2, 4, seed=3), torch.tensor([1, 1]), generator())  # two pixels move at most two of five
    moved = model.updates > updates
    assert not moved[[0, 2]].any() and 1 <= moved[1].sum() <= 2
    assert torch.equal(model.vectors[~moved], vectors[~moved])
    assert not torch.equal(model.vectors[moved], vectors[moved])
    model.update(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), generator())  # P = 0
    assert torch.equal(model.vectors[~moved], vectors[~moved])
    assert torch.equal(model.updates, updates + moved)


def test_pixels_without_features_move_nothing():
    model = make(1, 4, prototypes=2)
    before = model.vectors.clone()
    model.update(torch.zeros(6, 4), torch.zeros(6, dtype=torch.int64), generator())
    assert torch.equal(model.vectors, before) and not model.updates.any()


def test_finds_well_separated_clusters():
    """Balanced assignment: even where all prototypes start near one cluster, each gets its own."""
    model = make(1, 8, prototypes=4)
    model.vectors.copy_(F.normalize(model.vectors * 0.1 + torch.eye(8)[0], dim=2))
    clusters = torch.eye(8)[torch.arange(80) % 4]
    for step in range(30):
        pixels = F.normalize(clusters + 0.1 * torch.randn(80, 8, generator=generator(step)), dim=1)
        model.update(pixels, torch.zeros(80, dtype=torch.int64), generator(step))
    cosines = model.vectors[0] @ torch.eye(8)[:4].T
    assert sorted(cosines.argmax(1).tolist()) == [0, 1, 2, 3]
    assert cosines.max(1).values.min() > 0.95


def test_determined_by_the_generator():
    def run(seed, **keys):
        model = make(2, 6, prototypes=3, **keys)
        model.update(unit(200, 6), some_labels(200, 2), generator(seed))
        return model.vectors

    for keys in ({"pixel_cap": 20}, {"assign": "sample"}):
        assert torch.equal(run(1, **keys), run(1, **keys))
        assert not torch.equal(run(1, **keys), run(2, **keys))
    assert torch.equal(run(1), run(2))  # nothing random below the cap


def test_cap_keeps_a_random_subset_of_each_class_that_exceeds_it():
    labels = torch.tensor([0] * 100 + [2] * 3 + [5] * 11)[torch.randperm(114, generator=generator())]
    times = torch.zeros(114)
    for seed in range(300):
        kept = capped(labels, 10, generator(seed))
        assert len(kept.unique()) == len(kept)
        assert labels[kept].bincount().tolist() == [10, 0, 3, 0, 0, 10]
        times[kept] += 1
    assert (times[labels == 2] == 300).all()
    assert times[labels == 0].min() >= 5 and times[labels == 0].max() <= 60  # 30 expected, deviation 5
    assert len(capped(labels, None, generator())) == 114
    assert len(capped(labels[:0], 10, generator())) == 0


def test_norm_over_prototypes_is_the_released_codes():
    """S3: length 1 over L for every class and channel, so that the 'cosine' isn't one."""
    model = make(3, 16, prototypes=10, prototype_norm="prototypes")
    start = model.vectors.clone()
    torch.testing.assert_close(start.norm(dim=1), torch.ones(3, 16))
    lengths = start.norm(dim=2)
    assert lengths.mean().item() == pytest.approx(math.sqrt(16 / 10), abs=0.1)  # 1.25 (0.7 to 1.8)
    pixels, labels = unit(60, 16), some_labels(60, 2)  # none of class 2
    chosen = model.assign(pixels, labels, generator())
    model.update(pixels, labels, generator())
    for c in (0, 1):
        expected = start[c].clone()
        for k in range(10):
            own = pixels[(labels == c) & (chosen == k)]
            if len(own):
                expected[k] = own.mean(0)
        torch.testing.assert_close(model.vectors[c], expected / expected.norm(dim=0))
    assert torch.equal(model.vectors[2], start[2])


def orthogonal(share, prototypes=10):
    """A class whose prototypes are the axes, and pixels on the axes: Q is (almost) one-hot."""
    model = make(1, prototypes, prototypes=prototypes, assign=share)
    model.vectors.copy_(torch.eye(prototypes))
    own = torch.arange(4000) % prototypes
    chosen = model.assign(torch.eye(prototypes)[own], torch.zeros_like(own), generator())
    return (chosen == own).float().mean().item(), chosen


def test_argmax_follows_q():
    assert orthogonal("argmax")[0] == 1


def test_a_gumbel_sample_with_q_as_logits_mostly_ignores_q():
    """S4: e / (e + 9) = 23 % of a one-hot Q with L = 10 keep their prototype."""
    kept, chosen = orthogonal("sample")
    assert kept == pytest.approx(math.e / (math.e + 9), abs=0.03)
    assert chosen.bincount().min() > 300


def test_in_single_precision_under_autocast():
    features, pixels, labels = unit(1, 6, 9, 9, dim=1), unit(80, 6), some_labels(80, 2)
    plain, mixed = make(2, 6), make(2, 6)
    plain.update(pixels, labels, generator())
    with torch.autocast("cpu", torch.bfloat16):
        mixed.update(pixels, labels, generator())
        maps, _ = mixed.semantic(features, torch.tensor([0]), torch.tensor([1]))
    assert torch.equal(plain.vectors, mixed.vectors) and maps.dtype == torch.float32
    assert torch.equal(maps, plain.semantic(features, torch.tensor([0]), torch.tensor([1]))[0])


def test_state_is_saved_and_neither_input_is_given_a_gradient():
    model = make(2, 4)
    features = unit(1, 4, 3, 3, dim=1).requires_grad_()
    model.update(features.flatten(2)[0].T, torch.zeros(9, dtype=torch.int64), generator())
    maps, _ = model.semantic(features, torch.tensor([0]), torch.tensor([0]))
    assert not maps.requires_grad and not list(model.parameters())
    other = make(2, 4, seed=1)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.vectors, model.vectors) and torch.equal(other.updates, model.updates)


# Several processes


def share(rank):
    """Pixels of each step of one of two processes; clusters so clear that the assignment is certain."""
    axes = torch.eye(8)
    own = torch.arange(40) % 4
    for step in range(4):
        pixels = axes[own] + 0.1 * torch.randn(40, 8, generator=generator(10 * step + rank))
        labels = own // 2  # two prototypes for each of two classes
        if (step == 1 and rank == 1) or step == 3:  # a process without pixels; both without
            pixels, labels = pixels[:0], labels[:0]
        yield F.normalize(pixels, dim=1), labels


def start_at_axes():
    model = make(3, 8, prototypes=2)
    model.vectors[:2] = torch.eye(8)[:4].view(2, 2, 8)
    return model


def one_of_two(rank, folder):
    torch.set_num_threads(1)
    meet, patience = f"file://{folder}/meet", timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2, timeout=patience)
    model = start_at_axes()
    for pixels, labels in share(rank):
        model.update(pixels, labels, generator(rank))
    torch.save(model.state_dict(), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_equal_each_other_and_one_with_all_pixels(tmp_path):
    torch.multiprocessing.start_processes(one_of_two, (tmp_path,), nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(first[key], second[key]) for key in first)
    alone = start_at_axes()
    for (pixels, labels), (more, others) in zip(share(0), share(1), strict=True):
        alone.update(torch.cat([pixels, more]), torch.cat([labels, others]), generator())
    torch.testing.assert_close(first["vectors"], alone.vectors)
    assert first["updates"].tolist() == [[3, 3], [3, 3], [0, 0]]
