"""Official checkpoints of SIM: AdelaiDet's names, with `_ema` those of the momentum network, prototypes."""

from __future__ import annotations

import re

import torch

from wsis.methods.checkpoints import Source, State
from wsis.methods.condinst.checkpoints import adelaidet_detector, configs

EMA = re.compile(r"(backbone|proposal_generator|mask_branch|controller)_ema(\..+)")


def from_sim(state: State) -> State:
    """Student, momentum network, prototypes (as moved ones) and the counter of steps."""
    rest, momentum, result = {}, {}, {}
    for name, value in state.items():
        if match := EMA.fullmatch(name):
            momentum["".join(match.groups())] = value
        elif name == "mask_head.prototypes":
            result["prototypes.vectors"] = value
            result["prototypes.updates"] = torch.ones(value.shape[:2], dtype=torch.int64)
        elif name == "_iter":
            result["iteration"] = value.long().squeeze()
        else:
            rest[name] = value
    result |= adelaidet_detector(rest)
    return result | {f"momentum.{name}": value for name, value in adelaidet_detector(momentum).items()}


NAMES = {"MS_R_50_1x": "r50-1x", "MS_R_101_1x": "r101-1x", "MS_R_101_3x": "r101-3x"}
CONFIGS = configs("sim", "SIM", {}, NAMES)
SOURCES = (Source("SIM", "mask_head.prototypes", from_sim, CONFIGS, True),)
