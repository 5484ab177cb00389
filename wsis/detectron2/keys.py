"""A recipe as detectron2's configuration: its data, solver and sizes, and the method as META_ARCHITECTURE."""

from __future__ import annotations

import json

from detectron2.config import CfgNode, get_cfg

from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import SCALE_JITTER
from wsis.detectron2.architecture import WsisMethod
from wsis.errors import WsisError
from wsis.methods import info_of


def add_keys(cfg: CfgNode) -> CfgNode:
    """The keys that only our architecture reads; returns `cfg`.

    RECIPE: its JSON; NUM_CLASSES: C; STRIDES: JSON of `wsis.methods.weights.strides`, none for the usual.
    JSON stands in lists: a text alone that reads as Python would become what it says.
    """
    cfg.WSIS = CfgNode({"RECIPE": [], "NUM_CLASSES": 0, "STRIDES": []})
    return cfg


def of_recipe(recipe: Recipe, num_classes: int) -> CfgNode:
    """As `wsis.detectron2.configuration`."""
    recipe = recipe.settled()
    info, data, schedule = info_of(recipe.method), recipe.data, recipe.schedule
    if info.fills_boxes or info.features != ("pyramid",):
        raise WsisError(f"method {info.name}: detectron2 trains methods that detect objects in whole images")
    if schedule.optimizer != "sgd" or schedule.decay != "step":
        raise WsisError(
            f"schedule: detectron2's default trainer has sgd with steps, not {schedule.optimizer}"
        )
    if data.augment == SCALE_JITTER:
        raise WsisError(f"data.augment: detectron2's default trainer flips images, it has no {SCALE_JITTER}")
    cfg = add_keys(get_cfg())
    cfg.WSIS.RECIPE, cfg.WSIS.NUM_CLASSES = [json.dumps(recipe.model_dump(mode="json"))], num_classes
    cfg.merge_from_list([
        "MODEL.META_ARCHITECTURE", WsisMethod.__name__, "MODEL.WEIGHTS", "",
        "MODEL.MASK_ON", data.supervision != "boxes",
        "INPUT.FORMAT", "RGB", "INPUT.MASK_FORMAT", "bitmask", "INPUT.MIN_SIZE_TRAIN", data.short_side,
        "INPUT.MAX_SIZE_TRAIN", data.max_side, "INPUT.MIN_SIZE_TEST", data.eval_short_side,
        "INPUT.MAX_SIZE_TEST", data.max_side,
        "INPUT.RANDOM_FLIP", "none" if data.augment == "none" else "horizontal",
        "SOLVER.IMS_PER_BATCH", schedule.batch, "SOLVER.BASE_LR", schedule.lr,
        "SOLVER.MOMENTUM", schedule.momentum, "SOLVER.WEIGHT_DECAY", schedule.weight_decay,
        "SOLVER.MAX_ITER", schedule.total, "SOLVER.STEPS", schedule.milestones,
        "SOLVER.WARMUP_ITERS", schedule.warmup, "SOLVER.WARMUP_FACTOR", schedule.warmup_factor,
    ])  # fmt: skip
    return cfg
