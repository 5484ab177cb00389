"""Methods: nn.Modules with two faces, `losses(batch, generator)` and `predict(samples)`.

Those that make masks of given boxes (BoxCaseg's first stage, baselines) have `fill(sample)` instead of the
second: a BoxMask for each box of a BoxSample.
"""

from torch import nn

from wsis.declare.recipe import Recipe
from wsis.errors import WsisError


def build_method(recipe: Recipe, num_classes: int) -> nn.Module:
    """The network and losses of a recipe. num_classes: C, contiguous labels 0 to C - 1."""
    match recipe.method:  # each imports its own only: torchvision's detectors take a second
        case "condinst":
            from wsis.methods.condinst import CondInst as Method
        case "boxinst":
            from wsis.methods.boxinst import BoxInst as Method
        case "sim":
            from wsis.methods.sim.method import SIM as Method
        case "boxcaseg":
            from wsis.methods.boxcaseg.method import BoxCaseg as Method
        case "baiseg":
            from wsis.methods.baiseg.method import BAISeg as Method
        case "mask_rcnn":
            from wsis.methods.mask_rcnn.method import MaskRCNN as Method
        case "bbtp":
            from wsis.methods.bbtp import BBTP as Method
        case "grabcut":
            from wsis.methods.grabcut import GrabCut as Method
        case "boxes":
            from wsis.methods.boxes import Boxes as Method
        case other:
            raise WsisError(f"method {other} does not exist yet")
    return Method(recipe.settled(), num_classes)
