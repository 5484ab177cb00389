"""Dice loss, as CondInst uses it (squared denominator)."""

from torch import Tensor

EPS = 1e-5


def dice_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """1 - 2 sum(x t) / (sum x^2 + sum t^2 + eps), over all but the first dimension.

    Args:
        probabilities: N x ... float in [0, 1]
        targets: N x ... float or bool of the same shape

    Returns:
        N float, one loss an instance.
    """
    x, t = probabilities.flatten(1), targets.flatten(1).to(probabilities.dtype)
    return 1 - 2 * (x * t).sum(1) / ((x * x).sum(1) + (t * t).sum(1) + EPS)
