"""Methods: nn.Modules with two faces, `losses(batch, generator)` and `predict(samples)`."""

from torch import nn

from wsis.declare.recipe import Recipe


def build_method(recipe: Recipe, num_classes: int) -> nn.Module:
    """The network and losses of a recipe. num_classes: C, contiguous labels 0 to C - 1."""
    from wsis.methods.boxinst import BoxInst
    from wsis.methods.condinst import CondInst
    from wsis.methods.sim.method import SIM

    return {"condinst": CondInst, "boxinst": BoxInst, "sim": SIM}[recipe.method](
        recipe.settled(), num_classes
    )
