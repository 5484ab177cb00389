"""Backbone weights from files: torchvision's names, detectron2's pickles, and nothing executed."""

import pickle

import numpy as np
import pytest
import torch
import torchvision

from tests.methods.scenes import recipe
from wsis.errors import WsisError
from wsis.nn.backbones import MEAN, STD
from wsis.nn.weights import load_backbone_weights, read_weights


def spec(path):
    return recipe(model__backbone="resnet50", model__weights=str(path)).model


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return torchvision.models.resnet50(weights=None)


def fresh():
    return torchvision.models.resnet50(weights=None)


def test_torch_file_round_trip(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / "r50.pth")
    other = fresh()
    load_backbone_weights(other, spec(tmp_path / "r50.pth"))
    assert torch.equal(other.layer3[2].conv2.weight, net.layer3[2].conv2.weight)


def detectron2_names(state):
    """torchvision's ResNet names as detectron2 writes them."""
    tree = {}
    for key, value in state.items():
        if key.startswith("fc.") or key.endswith("num_batches_tracked"):
            continue
        parts = key.split(".")
        if parts[0].startswith("layer"):
            stage = f"res{int(parts[0][5:]) + 1}.{parts[1]}"
            if parts[2] == "downsample":
                name = "shortcut" + (".norm" if parts[3] == "1" else "")
            else:
                name = f"conv{parts[2][-1]}" + (".norm" if parts[2].startswith("bn") else "")
            new = f"{stage}.{name}.{parts[-1]}"
        else:
            new = f"stem.conv1{'.norm' if parts[0] == 'bn1' else ''}.{parts[-1]}"
        tree[new] = value.numpy()
    return tree


def test_msra_pickle_gives_the_same_features_with_its_strides_in_the_1x1_convolutions(net, tmp_path):
    tree = detectron2_names(net.state_dict())
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps({"model": tree, "__author__": "test"}))
    other = fresh()
    load_backbone_weights(other, spec(tmp_path / "R-50.pkl"))
    # What the zoo's net computes: BGR pixels minus the mean, strides where its weights were trained.
    theirs = fresh()
    theirs.load_state_dict(net.state_dict())
    for stage in (theirs.layer2, theirs.layer3, theirs.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = 2, 1
    rgb = torch.randint(0, 256, (1, 3, 64, 64), generator=torch.Generator().manual_seed(0)).float()
    mean, std = (torch.tensor(v)[None, :, None, None] for v in (MEAN, STD))
    pairs = []
    for model, pixels in ((theirs, (rgb - mean).flip(1)), (other, (rgb - mean) / std)):
        model.eval()
        x = model.maxpool(model.relu(model.bn1(model.conv1(pixels))))
        pairs.append(model.layer3(model.layer2(model.layer1(x))))
    torch.testing.assert_close(*pairs, rtol=1e-3, atol=1e-3 * pairs[0].abs().max().item())


def test_pickle_converted_from_torchvision_is_taken_as_it_is(net, tmp_path):
    tree = detectron2_names(net.state_dict())
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps({"model": tree, "__author__": "torchvision"}))
    other = fresh()
    load_backbone_weights(other, spec(tmp_path / "R-50.pkl"))
    assert torch.equal(other.conv1.weight, net.conv1.weight)
    assert other.layer2[0].conv2.stride == (2, 2)


def test_folded_batch_norm_fits_only_a_frozen_one(net, tmp_path):
    tree = {k: v for k, v in detectron2_names(net.state_dict()).items() if "running" not in k}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps({"model": tree}))
    with pytest.raises(WsisError, match=r"R-50\.pkl: .*model\.norm: frozen"):
        load_backbone_weights(fresh(), spec(tmp_path / "R-50.pkl"))
    frozen = recipe(
        model__backbone="resnet50", model__weights=str(tmp_path / "R-50.pkl"), model__norm="frozen"
    ).model
    other = torchvision.models.resnet50(norm_layer=torchvision.ops.FrozenBatchNorm2d)
    load_backbone_weights(other, frozen)
    assert (other.layer1[0].bn1.running_var == 1).all()


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_pickle_with_code_is_refused_unexecuted(tmp_path, capsys):
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"model": {"a": np.zeros(1)}, "x": Evil()}))
    with pytest.raises(WsisError, match=r"would run builtins\.print"):
        read_weights(tmp_path / "evil.pkl")
    assert "executed" not in capsys.readouterr().out


def test_wrong_file_is_named_with_what_is_missing(net, tmp_path):
    torch.save({"conv1.weight": net.conv1.weight.data}, tmp_path / "half.pth")
    with pytest.raises(WsisError, match=r"half\.pth: not the weights of resnet50.*bn1"):
        load_backbone_weights(fresh(), spec(tmp_path / "half.pth"))
    with pytest.raises(WsisError, match="no such weights file"):
        load_backbone_weights(fresh(), spec(tmp_path / "absent.pth"))


def test_failed_download_names_the_file_to_provide(monkeypatch):
    def fail(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(WsisError, match=r"resnet50-\w+\.pth into .*model\.weights"):
        load_backbone_weights(fresh(), spec("imagenet"))
