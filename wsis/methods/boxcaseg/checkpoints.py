"""Official checkpoints of BoxCaseg's joint training: HRNet's names, and those of its three heads."""

from __future__ import annotations

from wsis.methods.checkpoints import Config, Source, State, renamed

RULES = [
    *(
        (rf"{theirs}\.{place}\.(.+)", rf"{ours}.{part}.\1")
        for theirs, ours in (("last_layer", "weak"), ("fcn", "salient"))
        for place, part in ((0, "first"), (1, "norm"), (3, "last"))
    ),
    *(
        (rf"transfer{number}\.fc{layer}\.(.+)", rf"transferred.{part}.rows.{place}.\1")
        for number, part in ((1, "first"), (2, "last"))
        for layer, place in ((1, 0), (2, 2))
    ),
    *(
        (rf"transfer{number}\.{theirs}", f"transferred.{part}.{ours}")
        for number, part in ((1, "first"), (2, "last"))
        for theirs, ours in (("k", "k"), ("b", "c"))
    ),
    (r"transfer_bn\.(.+)", r"transferred.norm.\1"),
    (r"((conv|bn)[12]\..+|(layer1|transition[123]|stage[234])\..+)", r"backbone.net.\1"),
]


def from_boxcaseg(state: State) -> State:
    """Their backbone and heads -> ours. Files of several devices have `module.` before each name."""
    plain = renamed({name.removeprefix("module."): value for name, value in state.items()}, RULES)
    return {name: value.squeeze() if name.endswith((".k", ".c")) else value for name, value in plain.items()}


CONFIGS = {
    "PD/pd_trans_fcn": Config("boxcaseg/voc", {"variant": "released"}),
    "CD/cd_trans_fcn": Config("boxcaseg/coco", {"variant": "released"}),
}
SOURCES = tuple(
    Source("BoxCaseg", f"{prefix}transfer1.fc1.weight", from_boxcaseg, CONFIGS) for prefix in ("", "module.")
)
