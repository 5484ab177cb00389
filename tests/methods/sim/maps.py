"""Maps of one or several toy objects, and the settings of their labels."""

from types import SimpleNamespace

import torch

from wsis.methods.sim.pseudo import correct, label

SIZE = 24


def settings(**changes):
    keys = {
        "tau_low": 0.3, "tau_high": 0.7, "adaptive": False, "outside": "background", "labels": True,
        "paste_mask": "pseudo",
    }  # fmt: skip
    return SimpleNamespace(**keys | changes)


RELEASED = settings(tau_low=0.4, tau_high=0.8, adaptive=True, outside="ignored", paste_mask="instance")


def semantic_map(cosines, tau):
    """Eq. 1 given the largest cosine."""
    return (cosines / tau).sigmoid()


def labels_of(probability, spec=None, instance=None, box=(0, 0, SIZE, SIZE), covered=True):
    """Labels of one object."""
    return label(
        probability[None],
        probability[None] if instance is None else instance[None],
        torch.tensor([box]),
        torch.tensor([covered]),
        spec or settings(),
    )


def corrected(cosines, instance, tau, alpha):
    semantic = semantic_map(cosines, tau)
    return correct(semantic[None], torch.tensor([True]), instance[None], alpha)[0]
