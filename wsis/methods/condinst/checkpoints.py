"""Official checkpoints of CondInst's network: what AdelaiDet and mmdetection name its tensors.

AdelaiDet's, of which SIM's code is a copy, expects BGR pixels without division by a deviation.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from wsis.methods.checkpoints import Config, Source, State, detectron2_resnet, renamed, resnet_rules

BODY = resnet_rules("pyramid.body")
ADELAIDET = [
    *((rf"backbone\.fpn_lateral{3 + i}\.(.+)", rf"pyramid.fpn.inner_blocks.{i}.0.\1") for i in range(3)),
    *((rf"backbone\.fpn_output{3 + i}\.(.+)", rf"pyramid.fpn.layer_blocks.{i}.0.\1") for i in range(3)),
    (r"backbone\.top_block\.(.+)", r"pyramid.fpn.extra_blocks.\1"),
    (r"proposal_generator\.fcos_head\.cls_(tower|logits)\.(.+)", r"head.cls_\1.\2"),
    (r"proposal_generator\.fcos_head\.bbox_(tower\..+)", r"head.box_\1"),
    (r"proposal_generator\.fcos_head\.bbox_(pred\..+)", r"head.box_\1"),
    (r"proposal_generator\.fcos_head\.ctrness\.(.+)", r"head.centerness.\1"),
    (r"proposal_generator\.fcos_head\.scales\.(\d)\.scale", r"head.scales.\1"),
    (r"controller\.(.+)", r"head.controller.\1"),
    *((rf"mask_branch\.refine\.{i}\.(.+)", rf"mask_branch.reduce.p{3 + i}.\1") for i in range(3)),
    (r"mask_branch\.tower\.(.+)", r"mask_branch.refine.\1"),
]
# The auxiliary semantic loss of training, and geometry.
ADELAIDET_IGNORED = [r"mask_branch\.(seg_head|logits)\..+", r"mask_head\.sizes_of_interest"]
MMDETECTION = [
    *((rf"neck\.lateral_convs\.{i}\.conv\.(.+)", rf"pyramid.fpn.inner_blocks.{i}.0.\1") for i in range(3)),
    *((rf"neck\.fpn_convs\.{i}\.conv\.(.+)", rf"pyramid.fpn.layer_blocks.{i}.0.\1") for i in range(3)),
    *((rf"neck\.fpn_convs\.{3 + i}\.conv\.(.+)", rf"pyramid.fpn.extra_blocks.p{6 + i}.\1") for i in range(2)),
    *(
        (rf"bbox_head\.{theirs}_convs\.{i}\.{part}\.(.+)", rf"head.{ours}_tower.{3 * i + place}.\1")
        for theirs, ours in (("cls", "cls"), ("reg", "box"))
        for i in range(4)
        for place, part in enumerate(("conv", "gn"))
    ),
    (r"bbox_head\.conv_cls\.(.+)", r"head.cls_logits.\1"),
    (r"bbox_head\.conv_reg\.(.+)", r"head.box_pred.\1"),
    (r"bbox_head\.conv_centerness\.(.+)", r"head.centerness.\1"),
    (r"bbox_head\.scales\.(\d)\.scale", r"head.scales.\1"),
    (r"bbox_head\.controller\.(.+)", r"head.controller.\1"),
    *(
        (rf"mask_head\.mask_feature_head\.{theirs}\.{part}\.(.+)", rf"mask_branch.{ours}.{place}.\1")
        for theirs, ours in [
            *((rf"convs_all_levels\.{i}\.conv{i}", rf"reduce.p{3 + i}") for i in range(3)),
            *((rf"conv_branch\.{i}", f"refine.{i}") for i in range(4)),
        ]
        for place, part in enumerate(("conv", "bn"))
    ),
    (r"mask_head\.mask_feature_head\.conv_pred\.(.+)", r"mask_branch.refine.4.\1"),
]
OFFICIAL = {"variant": "released"}


def configs(paper: str, prefix: str, keys: dict[str, Any], names: dict[str, str]) -> dict[str, Config]:
    """'<prefix>/<name>' -> the paper's named recipe with `keys` and the released code's way."""
    return {f"{prefix}/{name}": Config(f"{paper}/{base}", OFFICIAL | keys) for name, base in names.items()}


def from_adelaidet(state: State) -> State:
    """AdelaiDet's tensors of CondInst or BoxInst -> ours; the counter of steps with them."""
    rest, counter = dict(state), state.get("mask_head._iter")
    rest.pop("mask_head._iter", None)
    return adelaidet_detector(rest) | ({} if counter is None else {"iteration": counter.long().squeeze()})


def adelaidet_detector(state: State) -> State:
    """Their backbone, proposal_generator, mask_branch and controller -> our pyramid, head and mask_branch."""
    body, rest = detectron2_resnet(state)
    return renamed(body, BODY) | _joined(renamed(rest, ADELAIDET, ADELAIDET_IGNORED))


def from_mmdetection(state: State) -> State:
    """mmdetection's tensors of CondInst or BoxInst -> ours.

    Its ResNets have torchvision's names. The dynamic head's parameters are ordered as ours.
    """
    stem = "backbone."
    body = {name.removeprefix(stem): x for name, x in state.items() if name.startswith(stem)}
    body = {name: x for name, x in body.items() if not name.endswith("num_batches_tracked")}  # it is frozen
    rest = {name: value for name, value in state.items() if not name.startswith(stem)}
    return renamed(body, BODY) | _joined(renamed(rest, MMDETECTION, [r"data_preprocessor\..+"]))


def _joined(state: State) -> State:
    """The levels' scales as one tensor."""
    scales = sorted(name for name in state if re.fullmatch(r"head\.scales\.\d", name))
    levels = [state.pop(name).reshape(1) for name in scales]
    return state | ({"head.scales": torch.cat(levels)} if levels else {})


def adelaidet(configs: dict[str, Config]) -> Source:
    return Source(
        "AdelaiDet", "proposal_generator.fcos_head.cls_logits.weight", from_adelaidet, configs, True
    )


def mmdetection(configs: dict[str, Config]) -> Source:
    return Source("mmdetection", "bbox_head.conv_cls.weight", from_mmdetection, configs)


SOURCES = (
    adelaidet(
        configs(
            "boxinst",
            "CondInst",
            {"model.mask_channels": 8},
            {
                "MS_R_50_1x": "fully",
                "MS_R_50_3x": "condinst-r50-3x",
                "MS_R_101_3x": "condinst-r101-3x",
                "MS_R_50_3x_sem": "condinst-r50-3x",
                "MS_R_101_3x_sem": "condinst-r101-3x",
            },
        )
    ),
)
