"""Balanced assignment: against optimal transport solved otherwise, and its invariants."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, minimize

from wsis.methods.sim.sinkhorn import sinkhorn


def random_scores(pixels, prototypes, seed=0):
    return 2 * torch.rand(pixels, prototypes, generator=torch.Generator().manual_seed(seed)) - 1


def one_group(scores, eps, iterations):
    return sinkhorn(scores, torch.zeros(len(scores), dtype=torch.int64), 1, eps, iterations)


def plain(scores, eps, iterations):
    """Sinkhorn-Knopp as in Eq. 3, with exponentials, on L x N in double precision."""
    kernel = np.exp(scores.double().numpy().T / eps)
    size, n = kernel.shape
    v = np.ones(n)
    for _ in range(iterations):
        u = (1 / size) / (kernel @ v)
        v = (1 / n) / (kernel.T @ u)
    return (u[:, None] * kernel * v).T  # N x L, sum 1


@pytest.mark.parametrize("iterations", [1, 3, 50])
def test_equals_the_algorithm_with_plain_exponentials(iterations):
    scores = random_scores(40, 5)
    plan = one_group(scores, 0.05, iterations) / 40
    np.testing.assert_allclose(plan.numpy(), plain(scores, 0.05, iterations), rtol=1e-3, atol=1e-9)


def test_fixed_point_has_the_marginals_of_eq_2():
    plan = one_group(random_scores(30, 7, 1), 0.05, 1000) / 30
    torch.testing.assert_close(plan.sum(1), torch.full((30,), 1 / 30))
    torch.testing.assert_close(plan.sum(0), torch.full((7,), 1 / 7), rtol=1e-3, atol=0)


def test_pixel_marginal_holds_after_any_number_of_iterations():
    for iterations in (1, 2, 3):
        rows = one_group(random_scores(30, 7, 2), 0.05, iterations).sum(1)
        torch.testing.assert_close(rows, torch.ones(30))


def test_maximises_eq_2():
    """Against a general constrained optimiser on Tr(Q^T P^T Z) + eps H(Q)."""
    scores, eps = random_scores(4, 3, 3), 0.3
    s = scores.double().numpy()

    def objective(q):
        return -(q @ s.ravel()) + eps * (q * np.log(q)).sum()

    def gradient(q):
        return -s.ravel() + eps * (np.log(q) + 1)

    rows = [{"type": "eq", "fun": lambda q, i=i: q.reshape(4, 3)[i].sum() - 1 / 4} for i in range(4)]
    columns = [{"type": "eq", "fun": lambda q, j=j: q.reshape(4, 3)[:, j].sum() - 1 / 3} for j in range(2)]
    best = minimize(
        objective,
        np.full(12, 1 / 12),
        jac=gradient,
        bounds=[(1e-9, 1)] * 12,
        constraints=rows + columns,
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert best.success
    plan = one_group(scores, eps, 500) / 4
    np.testing.assert_allclose(plan.numpy(), best.x.reshape(4, 3), atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_small_eps_gives_the_balanced_assignment_of_highest_score(seed):
    """Each of 3 prototypes may take 4 of 12 pixels: an assignment problem with every prototype four times."""
    scores = random_scores(12, 3, seed)
    plan = one_group(scores, 0.002, 20000)
    _, slots = linear_sum_assignment(scores.repeat_interleave(4, 1).numpy(), maximize=True)
    np.testing.assert_array_equal(plan.argmax(1).numpy(), slots // 4)
    assert plan.max(1).values.min() > 0.9


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_does_not_overflow(dtype):
    scores = (random_scores(20, 4, 4) * 300).to(dtype)  # |score| / eps up to 6000; exp ends at 88, 11 in half
    plan = one_group(scores, 0.05, 3)
    assert plan.dtype == torch.float32
    assert plan.isfinite().all()
    torch.testing.assert_close(plan.sum(1), torch.ones(20))
    torch.testing.assert_close(plan, one_group(scores.float(), 0.05, 3))


def test_only_differences_of_scores_matter():
    """What is added for a pixel, or for a prototype, is taken away again by v and u."""
    scores = random_scores(20, 4, 5)
    moved = scores + 3 * random_scores(20, 1, 6) + 3 * random_scores(1, 4, 7)
    torch.testing.assert_close(one_group(moved, 0.05, 300), one_group(scores, 0.05, 300), rtol=0, atol=1e-3)


def test_several_groups_at_once_equal_one_by_one():
    scores = random_scores(60, 4, 8)
    groups = torch.randint(3, (60,), generator=torch.Generator().manual_seed(9))
    groups[groups == 2] = 4  # groups 2, 3 and 5 are empty
    together = sinkhorn(scores, groups, 6, 0.05, 3)
    for group in (0, 1, 4):
        alone = one_group(scores[groups == group], 0.05, 3)
        torch.testing.assert_close(together[groups == group], alone, rtol=1e-4, atol=1e-6)


def test_order_of_pixels_does_not_matter():
    scores = random_scores(50, 6, 10)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(11))
    plan = one_group(scores, 0.05, 3)
    torch.testing.assert_close(one_group(scores[order], 0.05, 3), plan[order], rtol=1e-4, atol=1e-6)


def test_one_prototype_takes_all_and_one_pixel_is_shared_by_all():
    torch.testing.assert_close(one_group(random_scores(9, 1), 0.05, 3), torch.ones(9, 1))
    torch.testing.assert_close(one_group(random_scores(1, 5), 0.05, 3), torch.full((1, 5), 0.2))


def test_no_pixels():
    empty = torch.zeros(0, dtype=torch.int64)
    assert sinkhorn(torch.zeros(0, 5), empty, 3, 0.05, 3).shape == (0, 5)
    assert sinkhorn(torch.zeros(0, 5), empty, 0, 0.05, 3).shape == (0, 5)
