"""SIM's rows as declared: what `variant` means, what a shorter schedule does, the warm-up they continue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsis.methods.sim.spec import SimSpec

if TYPE_CHECKING:
    from wsis.declare.recipe import Recipe


def _keys(**values: Any) -> dict[str, Any]:
    return {f"sim.{key}": value for key, value in values.items()}


VARIANTS = {  # errata S1, S3 to S17
    "paper": _keys(
        mu=5.0, prototype_norm="channels", assign="argmax", pixels="pseudo",
        tau_low=0.3, tau_high=0.7, adaptive=False, outside="background",
        mask_loss="bce+dice", average="positives", lambda_pseudo=0.5, lambda_ramp=0,
        affinity="colour", momentum="copy", bank=100, aliases=False, share=0.25,
        replacement=False, power=1.0, paste_mask="pseudo", paste_average="pasted",
        paste_boxes="source", composites=False, visible=0.1,
    ),
    "released": _keys(
        mu=0.0, prototype_norm="prototypes", assign="sample", pixels="instance",
        tau_low=0.4, tau_high=0.8, adaptive=True, outside="ignored",
        mask_loss="focal", average="pooled", lambda_pseudo=0.3, lambda_ramp=270000,
        affinity="colour-feature", momentum="released", bank=50, aliases=True, share=0.5,
        replacement=True, power=3.0, paste_mask="instance", paste_average="all",
        paste_boxes="tight", composites=True, visible=0.0,
    ) | {"loss.pairwise.tau": 0.1},  # the code has BoxInst's threshold of its paper (B1, S11)
}  # fmt: skip
# Of keys that are younger than the ids of finished runs: what null stands for (S21, S24).
UNNAMED = {
    "paper": {"centre": "mean", "assigned_by": "student"},
    "released": {"centre": "sum", "assigned_by": "momentum"},
}


def section(recipe: Recipe) -> SimSpec:
    """SIM's section of a settled recipe without any null that stands for something."""
    nulls = {key: value for key, value in UNNAMED[recipe.variant].items() if getattr(recipe.sim, key) is None}
    return recipe.sim.model_copy(update=nulls)


def continues(recipe: Recipe) -> dict[str, Any] | None:
    """BoxInst up to `sim.warmup` (Sec. 4.1), which SIM's rows of one seed continue; None for no warm-up.

    The released momentum network and prototypes learn during the warm-up: nothing can be shared (S12).
    """
    if not recipe.sim.warmup or recipe.sim.momentum == "released":
        return None
    return {"schedule.until": recipe.sim.warmup, "method": "boxinst", "sim": None}


def keep_proportions(
    tree: dict[str, Any], published: Recipe, scale: dict[str, Any], user: dict[str, Any]
) -> None:
    """SIM's warm-up and lambda_1's ramp keep their share of the run.

    The momentum network and the prototypes keep their memory, 1 / (1 - momentum) steps, as a share of the
    steps after the warm-up. Where the user changes the iterations, the scale's own warm-up keeps its share
    of them.
    """
    here, sim, decided = tree["sim"], published.settled().sim, scale | user
    total = _total(tree["schedule"])
    if total != published.schedule.total:
        ratio = total / published.schedule.total
        for key in ("warmup", "lambda_ramp"):
            if f"sim.{key}" not in decided and getattr(sim, key):
                here[key] = max(round(getattr(sim, key) * ratio), 1)
        steps = max(total - here["warmup"], 1) / max(published.schedule.total - sim.warmup, 1)
        for key in ("ema", "prototype_momentum"):
            if f"sim.{key}" not in decided:
                here[key] = round(max(1 - (1 - getattr(sim, key)) / steps, 0.0), 6)
    if "sim.warmup" in scale and "sim.warmup" not in user:
        usual = _total(
            published.schedule.model_dump() | {k.removeprefix("schedule."): scale[k] for k in scale}
        )
        if total != usual:
            here["warmup"] = min(round(here["warmup"] * total / max(usual, 1)), max(total - 1, 0))


def _total(schedule: dict[str, Any]) -> int:
    return round(schedule["iterations"] * schedule["length"])
