"""Swin Transformer: its size, its stages, whose weights it reads, and what isn't decayed."""

import pytest
import torch

from wsis.declare.recipe import Recipe
from wsis.declare.specs.model import ModelSpec
from wsis.declare.specs.schedule import ScheduleSpec
from wsis.errors import WsisError
from wsis.methods.base import Method
from wsis.nn.pyramid import Normalised
from wsis.nn.swin import SwinStages, load, torchvision_name

TINY = ModelSpec(backbone="tiny-swin", weights="none")


def theirs(state):
    """A state of torchvision's names under the authors', with what their files have beside it."""
    renamed = {}
    for name, value in state.items():
        place, *rest = name.split(".")
        number, tail = int(place), ".".join(rest)
        if number == 0:
            new = f"patch_embed.{'proj' if rest[0] == '0' else 'norm'}.{rest[1]}"
        elif number % 2:
            tail = tail.replace("mlp.0", "mlp.fc1").replace("mlp.3", "mlp.fc2")
            new = f"layers.{number // 2}.blocks.{tail}"
        else:
            new = f"layers.{number // 2 - 1}.downsample.{tail}"
        renamed[new] = value.reshape(16, 16) if name.endswith("position_index") else value
    return renamed | {"norm.weight": torch.ones(64), "head.weight": torch.ones(1000, 64)}


def test_the_size_is_that_of_detectron2s():
    """86 745 016 parameters: its Swin-B with a norm behind each of four stages."""
    with torch.device("meta"):
        net = SwinStages(ModelSpec(backbone="swin-b", weights="none"))
    assert sum(p.numel() for p in net.parameters()) == 86_745_016


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (96, 64)])
def test_stages_halve_whatever_the_size(size):
    stages = SwinStages(TINY).eval()(torch.randn(2, 3, *size))
    shapes = {name: tuple(x.shape[1:]) for name, x in stages.items()}
    h, w = size
    assert shapes == {"c2": (16, h // 4, w // 4), "c3": (32, h // 8, w // 8), "c4": (64, h // 16, w // 16)}
    assert all(abs(x.mean()) < 1e-3 and abs(x.std() - 1) < 0.05 for x in stages.values())  # behind a norm


def test_the_authors_weights_and_torchvisions_are_read():
    torch.manual_seed(0)
    source = SwinStages(TINY).features
    state = {name: value.clone() for name, value in source.state_dict().items()}
    given = theirs(state)
    assert {torchvision_name(name) for name in given} >= set(state)
    for weights in (given, {f"features.{name}": value for name, value in state.items()}):
        target = SwinStages(TINY).features
        load(target, weights, "file")
        for name, value in target.state_dict().items():
            assert torch.equal(value, state[name]), name


def test_other_weights_are_refused_by_name():
    state = theirs(SwinStages(TINY).features.state_dict())
    del state["layers.0.blocks.0.norm1.weight"]
    state["patch_embed.proj.bias"] = torch.zeros(3)
    with pytest.raises(
        WsisError, match=r"^w\.pth: not the weights .* 2 tensors .*1\.0\.norm1\.weight, 0\.0\.bias"
    ):
        load(SwinStages(TINY).features, state, "w.pth")


class Net(Method):
    def __init__(self):
        super().__init__(Recipe(method="boxinst"))
        self.backbone = Normalised(TINY, ("c3", "c4"))
        self.head = torch.nn.Linear(4, 4)


def test_norms_and_position_tables_are_not_decayed_and_the_backbone_may_be_slower():
    net = Net()
    names = {id(p): name for name, p in net.named_parameters()}
    groups = net.parameter_groups(ScheduleSpec(weight_decay=0.05, backbone_factor=0.1))
    seen = {
        names[id(p)]: (group["lr_scale"], group["weight_decay"]) for group in groups for p in group["params"]
    }
    assert seen.keys() == {name for name in names.values() if not name.startswith("backbone.body.norms.c2")}
    for name, (scale, decay) in seen.items():
        plain = "norm" in name or "features.0.2" in name or name.endswith("relative_position_bias_table")
        assert decay == (0.0 if plain else 0.05), name
        assert scale == (1.0 if name.startswith("head") else 0.1), name
    assert len(net.parameter_groups(ScheduleSpec())) == 2
