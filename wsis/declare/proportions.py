"""What a shorter schedule, a smaller batch or other data imply for a recipe, unless somebody decided it."""

from __future__ import annotations

from typing import Any

from wsis.declare.recipe import Recipe
from wsis.declare.scale import Overrides

DUTS_SINGLE = 7991  # salient images of the paper (BoxCaseg, Sec. 4), which generated ones stand for
OBJECTS = {"voc": 25815, "coco": 860001}  # with boxes, in the training sets (BoxCaseg, Sec. 4)


def keep_proportions(tree: dict[str, Any], published: Recipe, decided: Overrides) -> None:
    """Scale what a shorter schedule or a smaller batch implies, unless somebody decided it.

    Milestones and the contrast's warm-up keep their share of the run (a 3x schedule has its own); SGD's
    learning rate is proportional to the batch (0.01 at 16 images, BoxInst, Sec. 3.1).
    """
    here, paper = tree["schedule"], published.schedule
    total = round(here["iterations"] * here["length"])
    if "schedule.milestones" not in decided and total != paper.total:
        here["milestones"] = [max(round(m * total / paper.total), 1) for m in paper.milestones]
    if "schedule.lr" not in decided and here["optimizer"] == "sgd":
        here["lr"] = paper.lr * here["batch"] / paper.batch
    if tree["sim"] is not None and total != paper.total:
        _keep_sim_proportions(tree["sim"], published, total, decided)
    if tree["baiseg"] is not None and total != paper.total and "baiseg.contrast_warmup" not in decided:
        tree["baiseg"]["contrast_warmup"] = round(published.baiseg.contrast_warmup * total / paper.total)
    if tree["boxcaseg"] is not None:
        _keep_salient_proportions(tree, published, decided)


def _keep_sim_proportions(here: dict[str, Any], published: Recipe, total: int, decided: Overrides) -> None:
    """SIM's warm-up and lambda_1's ramp keep their share of the run.

    The momentum network and the prototypes keep their memory, 1 / (1 - momentum) steps, as a share of the
    steps after the warm-up.
    """
    sim, ratio = published.settled().sim, total / published.schedule.total
    for key in ("warmup", "lambda_ramp"):
        if f"sim.{key}" not in decided and getattr(sim, key):
            here[key] = max(round(getattr(sim, key) * ratio), 1)
    steps = max(total - here["warmup"], 1) / max(published.schedule.total - sim.warmup, 1)
    for key in ("ema", "prototype_momentum"):
        if f"sim.{key}" not in decided:
            here[key] = round(max(1 - (1 - getattr(sim, key)) / steps, 0.0), 6)


def _keep_salient_proportions(tree: dict[str, Any], published: Recipe, decided: Overrides) -> None:
    """Generated salient images keep their share of DUTS-Single, and, drawn from the union, of the objects.

    `data.shapes.salient_images` stands for all 7991 beside VOC's objects. COCO has 33 times as many objects,
    beside which random sampling hardly finds a salient image (Sec. 4.2.3). On VOC images of another list than
    the paper's, whose natural ratio is not known here, a fixed one near the paper's (76 : 24) takes the place
    of random sampling.
    """
    here, spec, data = tree["boxcaseg"], published.boxcaseg, published.data.dataset
    drawn = tree["data"]["shapes"]["salient_images"]
    if tree["data"]["dataset"] == "shapes" and drawn and "boxcaseg.salient_images" not in decided:
        count = drawn * min(spec.salient_images / DUTS_SINGLE, 1.0)
        if spec.ratio == "random":
            count *= OBJECTS["voc"] / OBJECTS[data]
        here["salient_images"] = max(round(count), 1)
    other = tree["data"]["dataset"] == data == "voc" and tree["data"]["train"] != published.data.train
    if spec.ratio == "random" and other and "boxcaseg.ratio" not in decided:
        here["ratio"] = "12:4"
