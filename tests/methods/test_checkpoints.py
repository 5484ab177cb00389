"""Official checkpoints: the lists of names are those of the official models' own state dicts."""

from __future__ import annotations

import re

import pytest
import timm
import torch

from tests.methods.official import imported, numbered, shapes, with_momentum
from wsis.declare.load import load_recipes
from wsis.errors import WsisError
from wsis.methods import infos
from wsis.methods.checkpoints import fill, source_of, sources, translated
from wsis.nn.weights import torchvision_name

BOXINST, ZOO = "boxinst/adelaidet_r50.txt", "mask_rcnn/detectron2_r50.txt"


def value(network: torch.nn.Module, name: str) -> float:
    return network.state_dict()[name].flatten()[0].item()


def test_every_tensor_of_boxinst_has_its_place():
    state = numbered(shapes(BOXINST))
    network = imported("boxinst", "BoxInst/MS_R_50_1x", state)
    own = network.state_dict()
    numbers = {int(v) for name, x in own.items() for v in x.flatten()[:5].tolist() if "stem.0" not in name}
    theirs = {
        i for i, name in enumerate(state, 1) if name not in ("mask_head.sizes_of_interest", "mask_head._iter")
    }
    stem = 1 + list(state).index("backbone.bottom_up.stem.conv1.weight")
    assert theirs - {stem} <= numbers, "a tensor was lost"
    pairs = {
        "pyramid.body.c4.2.bn3.running_var": "backbone.bottom_up.res4.2.conv3.norm.running_var",
        "pyramid.body.c3.0.downsample.0.weight": "backbone.bottom_up.res3.0.shortcut.weight",
        "pyramid.fpn.inner_blocks.2.0.weight": "backbone.fpn_lateral5.weight",
        "head.box_tower.4.bias": "proposal_generator.fcos_head.bbox_tower.4.bias",
        "head.centerness.weight": "proposal_generator.fcos_head.ctrness.weight",
        "mask_branch.reduce.p4.0.weight": "mask_branch.refine.1.0.weight",
        "mask_branch.refine.3.1.running_mean": "mask_branch.tower.3.1.running_mean",
    }
    for ours, name in pairs.items():
        assert value(network, ours) == state[name].flatten()[0], ours
    scales = [state[f"proposal_generator.fcos_head.scales.{i}.scale"] for i in range(5)]
    assert own["head.scales"].tolist() == torch.cat(scales).tolist()
    assert own["iteration"] == state["mask_head._iter"]


def test_the_momentum_network_of_sim_is_its_own():
    state = numbered(with_momentum(shapes(BOXINST)))
    network = imported("sim", "SIM/MS_R_50_1x", state)
    for ours, theirs in {
        "head.controller.bias": "controller.bias",
        "momentum.head.controller.bias": "controller_ema.bias",
        "momentum.pyramid.body.c5.1.conv2.weight": "backbone_ema.bottom_up.res5.1.conv2.weight",
        "momentum.mask_branch.refine.4.bias": "mask_branch_ema.tower.4.bias",
        "prototypes.vectors": "mask_head.prototypes",
    }.items():
        assert value(network, ours) == state[theirs].flatten()[0], ours


def test_boxcasegs_heads_and_backbone():
    backbone = timm.create_model(  # has the names of HRNet's own code
        "hrnet_w48", pretrained=False, features_only=True, feature_location="", out_indices=(1, 2, 3, 4)
    )
    names = {name: list(x.shape) for name, x in backbone.state_dict().items()}
    state = numbered(names | shapes("boxcaseg/official_heads.txt"))
    network = imported("boxcaseg", "PD/pd_trans_fcn", {f"module.{name}": x for name, x in state.items()})
    for ours, theirs in {
        "weak.first.bias": "last_layer.0.bias",
        "salient.last.weight": "fcn.3.weight",
        "transferred.last.rows.2.bias": "transfer2.fc2.bias",
        "transferred.first.c": "transfer1.b",
        "transferred.norm.running_var": "transfer_bn.running_var",
        "backbone.net.stage4.2.branches.3.1.conv2.weight": "stage4.2.branches.3.1.conv2.weight",
    }.items():
        assert value(network, ours) == state[theirs].flatten()[0], ours


def test_the_background_of_a_zoo_model_is_its_last_class():
    state = numbered(shapes(ZOO))
    scores = state["roi_heads.box_predictor.cls_score.bias"]
    scores.copy_(torch.arange(81.0))
    network = imported("mask_rcnn", "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x", state)
    own = network.state_dict()
    assert own["roi_heads.box_predictor.cls_score.bias"].tolist() == [80, *range(80)]
    assert own["roi_heads.box_predictor.bbox_pred.weight"][:4].eq(0).all()
    assert own["roi_heads.mask_predictor.mask_fcn_logits.bias"][0] == 0
    strides = [(block.conv1.stride, block.conv2.stride) for block in network.backbone.body.c3]
    assert strides == [((2, 2), (1, 1))] + [((1, 1), (1, 1))] * 3


def test_mmdetections_names_fill_the_network():
    """As its sources name modules: ConvModule (conv, bn, gn), FPN, FCOSHead, MaskFeatModule."""
    names = {}
    for name, shape in shapes(BOXINST).items():
        new = mmdetection(name)
        if new:
            names[new] = shape
    names["bbox_head.controller.weight"][0] = names["bbox_head.controller.bias"][0] = 593
    state = numbered(names)
    network = imported("boxinst", "boxinst/boxinst_r50_fpn_ms-90k_coco", state)
    assert value(network, "head.box_tower.10.weight") == state["bbox_head.reg_convs.3.gn.weight"].flatten()[0]
    assert network.pyramid.body.c3[0].conv2.stride == (2, 2)


def mmdetection(name: str) -> str | None:
    """mmdetection's name of AdelaiDet's tensor."""
    if name.startswith("backbone.bottom_up."):
        return "backbone." + torchvision_name(name.removeprefix("backbone.bottom_up."))
    for pattern, new in (
        (r"backbone\.fpn_lateral(\d)\.(.+)", lambda m: f"neck.lateral_convs.{int(m[1]) - 3}.conv.{m[2]}"),
        (r"backbone\.fpn_output(\d)\.(.+)", lambda m: f"neck.fpn_convs.{int(m[1]) - 3}.conv.{m[2]}"),
        (r"backbone\.top_block\.p(\d)\.(.+)", lambda m: f"neck.fpn_convs.{int(m[1]) - 3}.conv.{m[2]}"),
        (
            r"proposal_generator\.fcos_head\.(cls|bbox)_tower\.(\d+)\.(.+)",
            lambda m: (
                f"bbox_head.{'cls' if m[1] == 'cls' else 'reg'}_convs.{int(m[2]) // 3}."
                f"{'gn' if int(m[2]) % 3 else 'conv'}.{m[3]}"
            ),
        ),
        (r"proposal_generator\.fcos_head\.cls_logits\.(.+)", lambda m: f"bbox_head.conv_cls.{m[1]}"),
        (r"proposal_generator\.fcos_head\.bbox_pred\.(.+)", lambda m: f"bbox_head.conv_reg.{m[1]}"),
        (r"proposal_generator\.fcos_head\.ctrness\.(.+)", lambda m: f"bbox_head.conv_centerness.{m[1]}"),
        (r"proposal_generator\.fcos_head\.(scales.+)", lambda m: f"bbox_head.{m[1]}"),
        (r"controller\.(.+)", lambda m: f"bbox_head.controller.{m[1]}"),
        (
            r"mask_branch\.refine\.(\d)\.(\d)\.(.+)",
            lambda m: (
                f"mask_head.mask_feature_head.convs_all_levels.{m[1]}.conv{m[1]}."
                f"{('conv', 'bn')[int(m[2])]}.{m[3]}"
            ),
        ),
        (
            r"mask_branch\.tower\.(\d)\.(\d)\.(.+)",
            lambda m: f"mask_head.mask_feature_head.conv_branch.{m[1]}.{('conv', 'bn')[int(m[2])]}.{m[3]}",
        ),
        (r"mask_branch\.tower\.4\.(.+)", lambda m: f"mask_head.mask_feature_head.conv_pred.{m[1]}"),
    ):
        if match := re.fullmatch(pattern, name):
            return new(match)
    return None


def test_what_does_not_fit_is_named():
    state = numbered(shapes(BOXINST))
    source = source_of("boxinst", state, "f.pth")
    with pytest.raises(
        WsisError, match=r"f\.pth: no checkpoint for method boxinst: .*AdelaiDet .*mmdetection"
    ):
        source_of("boxinst", {"fc.weight": torch.zeros(1)}, "f.pth")
    with pytest.raises(WsisError, match=r"f\.pth: tensor neck\.x is unknown in checkpoints of AdelaiDet"):
        translated(source, state | {"neck.x": torch.zeros(1)}, "f.pth")
    network = torch.nn.Linear(2, 1)
    with pytest.raises(
        WsisError, match=r"f: does not fit .*no bias; a is not ours; weight is 2x2 there, 1x2 here"
    ):
        fill(network, {"weight": torch.zeros(2, 2), "a": torch.zeros(1)}, "f")
    with pytest.raises(WsisError, match="method boxes takes no official checkpoints"):
        sources("boxes")


def test_configurations_name_recipes_that_there_are():
    for name, info in infos().items():
        for source in sources(name) if info.checkpoints else ():
            for config in source.configs.values():
                paper, _, base = config.base.partition("/")
                assert base in load_recipes(paper), config
