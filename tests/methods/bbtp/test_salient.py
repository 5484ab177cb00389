"""BBTP with salient images: their loss by hand, what they train and what they leave, split batches."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from tests.methods import scenes
from tests.methods.scenes import generator
from wsis.data.structures import Batch, BoxSample, Sample, Targets
from wsis.data.totals import Totals
from wsis.methods.bbtp import heads
from wsis.methods.bbtp.method import BBTP, OF_BOXES

REGIONS = {"model__head": "mask_rcnn", "loss": {"projection": False, "pairwise": None}}


def build(supervision: str = "boxes+salient", **overrides) -> BBTP:
    torch.manual_seed(0)
    given = {"method": "bbtp", "data__supervision": supervision, **REGIONS, **overrides}
    return BBTP(scenes.recipe(**given), 3)


def part(batch: Batch, *rows: int) -> Batch:
    """Some images of a batch."""
    chosen = [*rows]
    return Batch(
        batch.images[chosen],
        batch.valid[chosen],
        batch.scales[chosen],
        [batch.targets[i] for i in rows],
        chosen,
    )


def mixed() -> Batch:
    """Salient images at 0, 2 and 4, images with boxes at 1 and 3."""
    return scenes.batch(images=5, masks="salient")


def gradients(net: BBTP, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    net.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


@pytest.fixture
def still(monkeypatch):
    """Regions around a box are the box."""
    monkeypatch.setattr(heads, "around", lambda boxes, generator: boxes)


def test_the_loss_of_salient_images_is_the_cross_entropy_of_their_cells(still, monkeypatch):
    """Masks whose cells are whole: -log p inside, -log(1 - p) outside, a mean over regions and cells."""
    net, seen = build().eval(), []
    side = 2 * net.layout.mask_roi
    masks = torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    masks[0, 0, 8 : 8 + 2 * side, 4 : 4 + side] = True  # the left half of a box of 2 x 2 pixels a cell
    masks[1, 0, 20 : 20 + side // 2, 30 : 30 + side] = True  # the upper half of a box of a pixel a cell
    boxes = torch.tensor([[[4.0, 8, 4 + 2 * side, 8 + 2 * side]], [[30, 20, 30 + side, 20 + side]]])
    one, label = torch.ones(1, dtype=torch.bool), torch.tensor([-1])
    targets = [Targets(box, label, mask, one) for box, mask in zip(boxes, masks, strict=True)]
    with_boxes = scenes.batch(images=3).targets[2]
    batch = replace(scenes.batch(images=3), targets=[targets[0], with_boxes, targets[1]])
    plain = net.roi_heads.mask_logits
    monkeypatch.setattr(net.roi_heads, "mask_logits", lambda *a: seen.append(plain(*a)) or seen[-1])
    found = net.losses(batch, generator())["loss_salient"].item()
    (p,) = [logits.double().sigmoid() for logits in seen if len(logits) == 2 * heads.ROIS]
    half = side // 2
    terms = []
    for row in range(heads.ROIS):
        terms += [-p[row, :, :half].log().mean(), -(1 - p[row, :, half:]).log().mean()]
        low = row + heads.ROIS
        terms += [-p[low, :half].log().mean(), -(1 - p[low, half:]).log().mean()]
    assert found == pytest.approx(sum(terms).item() / len(terms), rel=1e-5)


def test_salient_images_train_the_masks_and_never_the_detector():
    net = build()
    losses = net.losses(part(mixed(), 0, 2), generator())
    assert all(losses[name] == 0 for name in OF_BOXES) and losses["loss_salient"] > 0
    found = gradients(net, sum(losses.values()))
    assert found.keys() == {name for name, p in net.named_parameters() if p.requires_grad}
    for name, gradient in found.items():
        if name.startswith(("rpn.", "roi_heads.box_")):
            assert not gradient.any(), name
    for start in ("roi_heads.mask_head", "roi_heads.mask_predictor", "backbone.fpn", "backbone.body"):
        assert any(g.any() for name, g in found.items() if name.startswith(start)), start


def test_beside_them_images_with_boxes_learn_as_they_do_alone():
    net, batch = build().eval(), mixed()  # batch norm keeps its statistics
    both, alone = net.losses(batch, generator()), net.losses(part(batch, 1, 3), generator())
    assert alone["loss_salient"] == 0 and both["loss_salient"] > 0
    for name in OF_BOXES:
        assert both[name].item() == pytest.approx(alone[name].item(), rel=1e-5), name
    whole, boxes = (gradients(net, sum(losses.values())) for losses in (both, alone))
    for name in whole:
        if name.startswith(("rpn.", "roi_heads.box_")):
            torch.testing.assert_close(whole[name], boxes[name], rtol=1e-4, atol=1e-7)
    moved = [name for name in whole if name.startswith("roi_heads.mask_")]
    assert moved and not any(torch.allclose(whole[name], boxes[name]) for name in moved)


def test_each_kind_of_batch_has_all_losses_and_gradients():
    net, batch = build(), mixed()
    hollow = batch.targets[0]
    hollow = Targets(hollow.boxes[:0], hollow.labels[:0], hollow.masks[:0], hollow.has_mask[:0])
    nothing = replace(part(batch, 0), targets=[hollow])
    for each in (batch, part(batch, 0), part(batch, 1), scenes.empty(part(batch, 1)), nothing):
        losses = net.losses(each, generator())
        assert losses.keys() == {*OF_BOXES, "loss_salient"}
        assert all(torch.isfinite(loss) for loss in losses.values())
        found = gradients(net, sum(losses.values()))
        assert found.keys() == {name for name, p in net.named_parameters() if p.requires_grad}
    assert net.losses(nothing, generator())["loss_salient"] == 0 and not net.idle


def test_a_mean_of_a_split_batch_is_over_its_whole(still):
    """Shards of an image with boxes and two salient ones, and of one and one; by totals."""
    net, batch = build().eval(), mixed()
    shards = [part(batch, 0, 1, 2), part(batch, 3, 4)]
    own = [net.totals(shard, generator()) for shard in shards]
    assert [{name: int(n) for name, n in each.items()} for each in own] == [
        {"boxed": 1, "salient": 2}, {"boxed": 1, "salient": 1}
    ]  # fmt: skip
    summed = {name: sum(each[name] for each in own) for name in own[0]}
    alone = [net.losses(shard, generator())["loss_salient"] for shard in shards]
    for shard, each in zip(shards, own, strict=True):
        shard.totals = Totals(2, summed, each)
    split = [net.losses(shard, generator())["loss_salient"] for shard in shards]
    whole = net.losses(batch, generator())["loss_salient"].item()
    assert sum(split).item() / 2 == pytest.approx(whole, rel=1e-5)
    assert sum(alone).item() / 2 != pytest.approx(whole, rel=1e-3)
    apart = build(loss={"projection": False, "pairwise": None, "normalise": "device"})
    assert apart.totals(batch, generator()) == {} == build("boxes").totals(batch, generator())


def test_regions_overlap_the_box_by_half_and_the_first_is_the_box():
    box = torch.tensor([[10.0, 20, 50, 90]])
    side = (box[:, 2:] - box[:, :2]).repeat(1, 2)
    extreme = torch.tensor([*product((-1, 0, 1), repeat=4)]) * heads.JITTER
    assert box_iou(box, box + extreme * side).min() >= 0.5
    regions = heads.around(box.repeat(2 * heads.ROIS, 1), generator())
    assert torch.equal(regions[[0, heads.ROIS]], box.repeat(2, 1)) and len(regions.unique(dim=0)) > heads.ROIS
    assert ((regions - box).abs() <= heads.JITTER * side + 1e-4).all()
    assert torch.equal(regions, heads.around(box.repeat(2 * heads.ROIS, 1), generator()))


def test_masks_know_no_class():
    net = build(predict__score=0.0, data__eval_short_side=64).eval()
    assert net.roi_heads.mask_predictor.mask_fcn_logits.out_channels == 1
    assert build("boxes").roi_heads.mask_predictor.mask_fcn_logits.out_channels == 4
    image = scenes.batch(3, images=1).images[0]
    boxes = torch.tensor([[4.0, 6, 40, 50]]).repeat(3, 1)
    (masks,) = net.fill([BoxSample(image, boxes, torch.arange(3), [1, 2, 3], 7)])
    assert masks[0].rle == masks[1].rle == masks[2].rle and [mask.label for mask in masks] == [0, 1, 2]
    (found,) = net.predict([Sample(image, (64, 64), 7)])
    assert len(found.masks) == len(found.boxes) > 0 and len(np.unique(found.labels)) > 1
