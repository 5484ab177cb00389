"""Features of a backbone that isn't trained: a function of the pixels, kept or computed anew."""

import pytest
import torch
from torch import nn

from wsis.nn import frozen
from wsis.nn.frozen import FrozenStages

MEAN, STD = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)


class Body(nn.Module):
    """Two stages with batch norm, at strides 4 and 8, that counts its calls."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.channels, self.calls = {"c2": 5, "c3": 6, "unread": 6}, 0
        self.first = nn.Sequential(nn.Conv2d(3, 5, 4, 4), nn.BatchNorm2d(5))
        self.second = nn.Conv2d(5, 6, 3, 2, 1)

    def forward(self, x):
        self.calls += 1
        c2 = self.first(x)
        return {"c2": c2, "c3": self.second(c2), "unread": c2}


def stages(seed=0):
    return FrozenStages(Body(seed), ("c2", "c3"), MEAN, STD)


@pytest.fixture
def images():
    return torch.randint(
        0, 256, (2, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)
    )


def test_an_image_has_the_same_features_alone_in_a_batch_and_from_the_disk(images, tmp_path):
    sizes = [(64, 96), (40, 70)]
    plain, keeping, finding = stages(), stages(), stages()
    keeping.keep(tmp_path)
    together, kept = plain(images, sizes), keeping(images, sizes)
    finding.keep(tmp_path)
    found = finding(images, sizes)
    assert finding.body.calls == 0 and keeping.body.calls == 2
    alone = plain(images[1:], sizes[1:])
    for name, stride in (("c2", 4), ("c3", 8)):
        assert torch.equal(together[name], kept[name]) and torch.equal(kept[name], found[name])
        assert together[name].shape[-2:] == (64 // stride, 96 // stride)
        assert torch.equal(together[name][1], alone[name][0])


def test_what_lies_in_the_padding_makes_no_difference(images):
    plain, sizes = stages(), [(64, 96), (33, 40)]
    other = images.clone()
    other[1, :, 33:], other[1, :, :, 40:] = 7, 9
    assert all(torch.equal(a, plain(other, sizes)[n]) for n, a in plain(images, sizes).items())


def test_features_follow_the_equation_on_a_whole_image(images):
    net = stages()
    pixels = (images.float() - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    expected = net.body.eval()(pixels)
    torch.testing.assert_close(net(images)["c3"], expected["c3"], atol=2e-3, rtol=2e-3)
    assert set(net(images)) == {"c2", "c3"} == set(net.channels)


def test_a_flipped_image_is_another_image(images, tmp_path):
    net = stages()
    net.keep(tmp_path)
    net(images)
    flipped = net(images.flip(3))
    assert net.body.calls == 4
    assert all(torch.equal(flipped[n], a) for n, a in stages()(images.flip(3)).items())


def test_other_weights_have_features_of_their_own(images, tmp_path):
    for seed in (0, 1):
        net = stages(seed)
        net.keep(tmp_path)
        assert torch.equal(net(images)["c2"], stages(seed)(images)["c2"])
    assert len(list(tmp_path.iterdir())) == 2


def test_the_room_on_the_disk_is_bounded(images, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen, "LIMIT", 1)
    net = stages()
    net.keep(tmp_path)
    net(images), net(images)
    assert len(list(net.folder.glob("*.safetensors"))) == 1 and net.body.calls == 3


def test_it_is_never_trained(images):
    net = stages().train()
    before = net.body.first[1].running_mean.clone()
    assert not net(images)["c2"].requires_grad and not any(p.requires_grad for p in net.parameters())
    assert torch.equal(before, net.body.first[1].running_mean)
