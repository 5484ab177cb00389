"""BoxCaseg's network: size, which losses reach which parameters, fusion, absent heads and patches."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from tests.methods.boxcaseg.scenes import batch, generator, network, recipe
from wsis.data.structures import PatchBatch
from wsis.declare.specs.model import ModelSpec
from wsis.errors import WsisError
from wsis.methods.boxcaseg.losses import mil_loss, smoothness
from wsis.methods.boxcaseg.method import BoxCaseg

KEYS = {"loss_mil", "loss_smooth", "loss_pixel"}
HEADS = [
    ("weak",), ("salient",), ("weak", "salient"), ("weak", "transferred"), ("weak", "salient", "transferred"),
]  # fmt: skip


def size(module):
    return sum(p.numel() for p in module.parameters())


def full(**boxcaseg):
    spec = ModelSpec(backbone="hrnetv2-w48", weights="none", neck="none", head="boxcaseg", norm="batch")
    with torch.device("meta"):
        return BoxCaseg(recipe(**boxcaseg).model_copy(update={"model": spec}), 20)


def test_the_full_network_has_the_released_parameters_part_by_part():
    net = full()
    parts = {name: size(part) for name, part in net.named_children()}
    assert parts == {
        "backbone": 65_325_120,
        "weak": 521_281,
        "salient": 521_281,
        "transferred": 2 * 4_150_802 + 1_440,
    }
    assert size(net) == 74_670_726
    assert net.weak.norm.momentum == net.transferred.norm.momentum == 0.01
    assert net.weak(net.backbone(torch.zeros(1, 3, 320, 320, device="meta"))).shape == (1, 80, 80)


@pytest.mark.parametrize("heads", HEADS)
def test_absent_heads_have_no_parameters_and_a_zero_loss(heads):
    net = network(heads=heads)
    assert {name for name, _ in net.named_children()} == {"backbone", *heads}
    losses = net.losses(batch(), generator())
    assert losses.keys() == KEYS
    assert (losses["loss_mil"] > 0) == (losses["loss_smooth"] > 0) == ("weak" in heads)
    assert (losses["loss_pixel"] > 0) == (len(set(heads) - {"weak"}) > 0)
    sum(losses.values()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize(("weak", "salient"), [(3, 0), (0, 3), (1, 1)])
def test_a_batch_of_one_kind_gives_every_parameter_a_gradient(heads, weak, salient):
    net = network(heads=heads)
    losses = net.losses(batch(weak, salient), generator())
    assert losses.keys() == KEYS
    assert all(torch.isfinite(value) and value.shape == () for value in losses.values())
    if salient == 0:
        assert losses["loss_pixel"] == 0
    sum(losses.values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert not net.idle


def test_without_salient_patches_the_pixel_heads_keep_their_statistics():
    net = network()
    net.losses(batch(3, 0), generator())
    assert net.weak.norm.num_batches_tracked == 1
    assert net.salient.norm.num_batches_tracked == net.transferred.norm.num_batches_tracked == 0


def test_losses_are_those_of_the_equations_on_upsampled_logits():
    net = network(alpha=0.3, smooth=0.2).train()
    given = batch()
    found = net.losses(given, generator())
    features = net.backbone(given.images)

    def at_full_size(logits):
        return F.interpolate(logits[:, None], size=(48, 48), mode="bilinear", align_corners=False)[:, 0]

    weak = at_full_size(net.weak(features))
    torch.testing.assert_close(found["loss_mil"], mil_loss(weak, given.labels, given.salient))
    torch.testing.assert_close(found["loss_smooth"], 0.2 * smoothness(weak))
    salient = net.salient(features[2:])
    transferred = net.transferred(features[2:], net.weak)
    fused = at_full_size(0.3 * salient + 0.7 * transferred)
    expected = F.binary_cross_entropy_with_logits(fused, given.labels[2:])
    torch.testing.assert_close(found["loss_pixel"], expected)


def shards(given, *sizes):
    """The batch cut into pieces of these sizes, in its order."""
    ends = torch.tensor(sizes).cumsum(0).tolist()
    rows = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    return [PatchBatch(given.images[r], given.labels[r], given.salient[r], given.ids[r]) for r in rows]


@pytest.mark.parametrize("sizes", [(8, 8), (4, 4, 4, 4), (2,) * 8])
def test_at_a_fixed_ratio_the_losses_are_those_of_the_whole_batch_however_it_is_split(sizes):
    """11 box and 5 salient patches, unevenly spread, some shards without any; batch norm held."""
    net = network(ratio="11:5").eval()
    given = batch(11, 5)
    whole = net.losses(given, generator())
    parts = [net.losses(shard, generator()) for shard in shards(given, *sizes)]
    for name in KEYS:
        mean = sum(part[name] for part in parts) / len(parts)
        torch.testing.assert_close(mean, whole[name], rtol=1e-5, atol=1e-6)
    random = network().eval().losses(given, generator())["loss_pixel"]
    torch.testing.assert_close(random, whole["loss_pixel"])  # a full batch has the plain mean in both


def test_in_random_draws_a_shard_has_the_mean_over_its_own_salient_patches():
    net = network().eval()
    given = batch(5, 3)
    own = [net.losses(part, generator())["loss_pixel"] for part in shards(given, 4, 2, 2)]
    assert own[0] == 0
    both = net.losses(shards(given, 4, 4)[1], generator())["loss_pixel"]  # one, then two of the three
    torch.testing.assert_close(both, (own[1] + 2 * own[2]) / 3)


def test_a_network_of_one_kind_of_patches_has_the_plain_mean_at_any_ratio():
    given = batch(0, 4)
    fixed, random = (network(heads=("salient",), ratio=ratio).eval() for ratio in ("11:5", "random"))
    expected = random.losses(given, generator())["loss_pixel"]
    assert fixed.losses(given, generator())["loss_pixel"] == expected


def test_the_pixel_loss_does_not_move_the_weak_head():
    net = network()
    net.losses(batch(), generator())["loss_pixel"].backward()
    assert all(p.grad is None for p in net.weak.parameters())
    for part in (net.backbone, net.salient, net.transferred):
        assert sum(p.grad.abs().sum() for p in part.parameters()) > 0


def test_the_bags_do_not_move_the_pixel_heads():
    net = network()
    losses = net.losses(batch(), generator())
    (losses["loss_mil"] + losses["loss_smooth"]).backward()
    for part in (net.salient, net.transferred):
        assert all(p.grad is None for p in part.parameters())
    assert all(p.grad is not None for p in net.weak.parameters())


@pytest.mark.parametrize(("alpha", "idle"), [(0.0, "salient"), (1.0, "transferred")])
@pytest.mark.parametrize("fusion", ["logits", "probabilities"])
def test_a_head_of_no_weight_learns_nothing(alpha, idle, fusion):
    net = network(alpha=alpha, fusion=fusion)
    net.losses(batch(), generator())["loss_pixel"].backward()
    for name in ("salient", "transferred"):
        moved = sum(p.grad.abs().sum() for p in getattr(net, name).parameters())
        assert (moved == 0) == (name == idle)


@pytest.mark.parametrize("key", ["bags", "salient_bags", "reduction", "fusion"])
def test_each_switch_reaches_its_loss(key):
    other = {"bags": "box", "salient_bags": "box", "reduction": "sum", "fusion": "probabilities"}[key]
    usual, changed = (network(**s).losses(batch(), generator()) for s in ({}, {key: other}))
    differ = {name for name in KEYS if not torch.isclose(usual[name], changed[name], rtol=1e-6)}
    expected = {
        "bags": {"loss_mil"}, "salient_bags": {"loss_mil"},
        "reduction": {"loss_mil", "loss_smooth"}, "fusion": {"loss_pixel"},
    }[key]  # fmt: skip
    assert differ == expected


def test_masks_are_fused_by_alpha_or_the_weak_heads():
    patches = batch().images
    net = network(alpha=0.3).eval()
    with torch.no_grad():
        features = net.backbone(patches)
        salient, transferred = net.salient(features), net.transferred(features, net.weak)
        torch.testing.assert_close(net.logits(net.backbone(patches)), 0.3 * salient + 0.7 * transferred)
        assert net.logits(net.backbone(patches)).shape == (4, 24, 24)
        weak = network(heads=("weak",)).eval()
        assert torch.equal(weak.logits(weak.backbone(patches)), weak.weak(weak.backbone(patches)))
        two = network(heads=("weak", "salient")).eval()  # alpha 0.7 does not weigh a head alone
        torch.testing.assert_close(two.logits(two.backbone(patches)), two.salient(two.backbone(patches)))
        mixed = network(alpha=0.3, fusion="probabilities").eval()
        expected = 0.3 * salient.sigmoid() + 0.7 * transferred.sigmoid()
        torch.testing.assert_close(mixed.logits(mixed.backbone(patches)).sigmoid(), expected)


@pytest.mark.parametrize("alpha", [-0.1, 1.5])
def test_alpha_outside_its_range_is_refused(alpha):
    with pytest.raises(ValidationError, match=r"boxcaseg\.alpha"):
        recipe(alpha=alpha)


def test_a_recipe_without_its_section_is_refused():
    with pytest.raises(WsisError, match="needs the section 'boxcaseg'"):
        BoxCaseg(recipe().model_copy(update={"boxcaseg": None}), 3)


def test_a_child_takes_over_what_it_has_in_common():
    parent, child = network(heads=("weak",)), network()
    missing, unexpected = child.load_state_dict(parent.state_dict(), strict=False)
    assert unexpected == []
    assert {name.split(".")[0] for name in missing} == {"salient", "transferred"}


def test_steps_are_counted():
    net = network()
    net.on_step_end(0)
    net.on_step_end(1)
    assert net.iteration == 2
    assert "iteration" in net.state_dict()


def test_bf16_is_close_to_float32():
    net = network().eval()
    plain = net.losses(batch(), generator())
    with torch.autocast("cpu", torch.bfloat16):
        half = net.losses(batch(), generator())
    for name in KEYS:
        assert half[name].dtype == torch.float32
        assert half[name].item() == pytest.approx(plain[name].item(), rel=0.05)


def test_it_learns_discs_and_boxes():
    """A few steps on one batch bring every term down, and the masks towards the discs."""
    net, given = network(), batch(4, 4)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    first = {name: value.item() for name, value in net.losses(given, generator()).items()}
    for _ in range(25):
        optimizer.zero_grad()
        losses = net.losses(given, generator())
        sum(losses.values()).backward()
        optimizer.step()
    assert losses["loss_mil"] < 0.7 * first["loss_mil"]
    assert losses["loss_pixel"] < 0.5 * first["loss_pixel"]
    with torch.no_grad():
        logits = net.logits(net.backbone(given.images))[4:, None]
        found = F.interpolate(logits, size=(48, 48), mode="bilinear")[:, 0] > 0
    disc = given.labels[4:] > 0.5
    assert (found & disc).sum() / (found | disc).sum() > 0.8
