"""High-resolution backbones: sizes, parameters, what a gradient reaches, weights from files."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wsis.declare.specs.model import ModelSpec
from wsis.errors import WsisError
from wsis.nn.backbones import build_backbone
from wsis.nn.hrnet import join
from wsis.nn.tiny import TinyHRNet


def spec(backbone="hrnetv2-w48", weights="none"):
    return ModelSpec(backbone=backbone, weights=weights, neck="none", head="boxcaseg", norm="batch")


def build_hrnet(backbone, weights="none"):
    return build_backbone(spec(backbone, weights), "patch")


def build(backbone, weights="none"):
    with torch.device("meta"):
        return build_hrnet(backbone, weights)


def size(module):
    return sum(p.numel() for p in module.parameters())


def test_hrnetv2_w48_as_released():
    net = build("hrnetv2-w48")
    assert size(net) == 65_325_120
    assert (net.channels, net.stride) == (720, 4)
    assert net(torch.zeros(2, 3, 288, 320, device="meta")).shape == (2, 720, 72, 80)
    assert {m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm2d)} == {0.01}
    modes = {(m.mode, m.align_corners) for m in net.modules() if isinstance(m, nn.Upsample)}
    assert modes == {("bilinear", False)}


@pytest.mark.parametrize(("backbone", "channels"), [("hrnet-w48", 48), ("hrnet-w32", 32)])
def test_the_finest_branch_alone_has_no_idle_parameters(backbone, channels):
    net = build(backbone)
    assert (net.channels, net.stride) == (channels, 4)
    found = net(torch.zeros(2, 3, 64, 96, device="meta"))
    assert found.shape == (2, channels, 16, 24)
    found.sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_branches_are_joined_at_the_finest_resolution():
    branches = [torch.randn(2, c, 16 // 2**i, 24 // 2**i) for i, c in enumerate((3, 4, 5))]
    joined = join(branches)
    assert joined.shape == (2, 12, 16, 24)
    assert torch.equal(joined[:, :3], branches[0])
    expected = F.interpolate(branches[2], scale_factor=4, mode="bilinear", align_corners=False)
    torch.testing.assert_close(joined[:, 7:], expected)


def test_sides_that_do_not_halve_are_refused():
    with pytest.raises(WsisError, match=r"multiples of 32, not 64 x 100"):
        build("hrnetv2-w48")(torch.zeros(1, 3, 64, 100, device="meta"))


def test_another_backbone_is_refused():
    with pytest.raises(WsisError, match=r"'resnet50' gives no patch features; use hrnet-w32, .*tiny"):
        build("resnet50")


def test_tiny():
    torch.manual_seed(0)
    net = build_hrnet("tiny")
    assert isinstance(net, TinyHRNet)
    assert 0.25e6 < size(net) < 0.35e6
    assert (net.channels, net.stride) == (64, 2)
    for side in (48, 40):
        found = net(torch.randn(2, 3, side, side))
        assert found.shape == (2, 64, side // 2, side // 2)
    found.square().sum().backward()
    idle = [name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert idle == []


def test_tiny_sees_the_whole_patch():
    """A corner's features depend on the opposite corner: the coarse branches have seen all of it."""
    torch.manual_seed(0)
    net = build_hrnet("tiny").eval()
    x = torch.randn(1, 3, 48, 48, requires_grad=True)
    net(x)[0, :, 0, 0].square().sum().backward()
    assert x.grad[0, :, -8:, -8:].abs().sum() > 0


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_from_a_file(tmp_path, suffix):
    torch.manual_seed(0)
    net = build_hrnet("hrnet-w32")
    state = net.net.state_dict()
    path = tmp_path / f"w.{suffix}"
    # A file of the whole classifier, as they are published: it has the other fusion layers and a head, too.
    import timm

    whole = timm.create_model("hrnet_w32", pretrained=False).state_dict()
    whole |= {k: torch.full_like(v, 0.5) if v.is_floating_point() else v for k, v in state.items()}
    if suffix == "pth":
        torch.save(whole, path)
    else:
        from safetensors.torch import save_file

        save_file(whole, path)
    loaded = build_hrnet("hrnet-w32", str(path)).net.state_dict()
    assert all((v == 0.5).all() for k, v in loaded.items() if v.is_floating_point())


def test_files_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(WsisError, match=r"nowhere\.pth: no such weights file"):
        build_hrnet("hrnet-w32", str(tmp_path / "nowhere.pth"))
    torch.save({"conv1.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(WsisError, match=r"not the weights of hrnet-w32: .* missing or misshapen"):
        build_hrnet("hrnet-w32", str(tmp_path / "other.pth"))
    (tmp_path / "torn.safetensors").write_bytes(b"\x08\x00")
    with pytest.raises(WsisError, match="can't be read as weights"):
        build_hrnet("hrnet-w32", str(tmp_path / "torn.safetensors"))


def test_a_failed_download_names_the_file(monkeypatch):
    import timm

    def fail(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(WsisError, match=r"hrnetv2-w48 could not be downloaded.*timm/hrnet_w48\.ms_in1k"):
        build_hrnet("hrnetv2-w48", "imagenet")
