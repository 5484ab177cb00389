"""What `model.details` changes of Mask R-CNN, against formulations of the codes' documented rules."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pycocotools import mask as rle

from tests.methods.mask_rcnn.test_method import build, values
from tests.methods.scenes import batch, generator
from wsis.declare.specs.schedule import ScheduleSpec
from wsis.methods.mask_rcnn.layout import DETAILS
from wsis.methods.mask_rcnn.paste import paste_masks
from wsis.methods.mask_rcnn.pooling import pool
from wsis.methods.mask_rcnn.proposals import best_of_all, box_loss

CODES = ("own", "official", "maskrcnn-benchmark")


def test_each_code_has_its_values():
    """detectron2: L1, biases as weights. Its forerunner: beta 1/9 and 1, biases twice and undecayed."""
    own, official, before = (DETAILS[code] for code in CODES)
    assert (own.rpn_beta, own.box_beta, own.bias_lr, own.bias_decay, own.shared) == (1 / 9, 1 / 9, 1, 1, None)
    assert (official.rpn_beta, official.box_beta, official.bias_lr, official.shared) == (0, 0, 1, None)
    assert (before.rpn_beta, before.box_beta, before.bias_lr, before.bias_decay) == (1 / 9, 1, 2, 0)
    assert before.shared == 2, "2000 regions a device, of two images where each has 1000"
    assert [each.aligned for each in (own, official, before)] == [False, True, False]
    assert [each.padded for each in (own, official, before)] == [False, True, True]


# Pooling


def ramp(height: int, width: int, stride: int) -> torch.Tensor:
    """Features that are the image's own coordinates: cell (i, j) lies at pixel ((j + 1/2) s, (i + 1/2) s)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (torch.stack([x, y])[None] + 0.5) * stride


@pytest.mark.parametrize("stride", [4, 8])
def test_aligned_pooling_finds_what_lies_at_a_regions_cells(stride):
    """The half-pixel rule: linear features, pooled, are the coordinates of the centres of the cells.

    Without it they are those half a cell of the features further right and down.
    """
    boxes = torch.tensor([[33.0, 21.0, 75.0, 91.0], [40.5, 30.25, 61.0, 50.0]])
    features, sizes, side = {"0": ramp(128 // stride, 128 // stride, stride)}, [(128, 128)], 7
    centres = (torch.arange(side) + 0.5) / side
    x = boxes[:, 0, None] + (boxes[:, 2] - boxes[:, 0])[:, None] * centres
    y = boxes[:, 1, None] + (boxes[:, 3] - boxes[:, 1])[:, None] * centres
    expected = torch.stack([x[:, None].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)], 1)
    torch.testing.assert_close(pool(["0"], side, True)(features, [boxes], sizes), expected)
    shifted = pool(["0"], side, False)(features, [boxes], sizes)
    torch.testing.assert_close(shifted, expected + stride / 2)


# Pasting


def by_grid_sample(logits: torch.Tensor, box: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """A mask laid on an image: each pixel's centre looked up in the box, zeros outside of the cells."""
    y, x = (torch.arange(side) + 0.5 for side in size)
    x, y = (x - box[0]) / (box[2] - box[0]) * 2 - 1, (y - box[1]) / (box[3] - box[1]) * 2 - 1
    grid = torch.stack([x[None].expand(len(y), -1), y[:, None].expand(-1, len(x))], -1)[None]
    found = F.grid_sample(logits.sigmoid()[None, None], grid, padding_mode="zeros", align_corners=False)
    return found[0, 0]


def test_padded_pasting_is_a_lookup_with_zeros_around():
    g = torch.Generator().manual_seed(0)
    logits, size = torch.randn(6, 28, 28, generator=g) * 2, (60, 80)
    low = torch.rand(6, 2, generator=g) * 40 - 4
    boxes = torch.cat([low, low + 6 + torch.rand(6, 2, generator=g) * 40], 1)
    for mask, logit, box in zip(paste_masks(logits, boxes, size, padded=True), logits, boxes, strict=True):
        soft, found = by_grid_sample(logit, box, size), torch.from_numpy(rle.decode(mask)).bool()
        certain = (soft - 0.5).abs() > 1e-4  # rounding decides the others
        assert certain.float().mean() > 0.999 and torch.equal(found[certain], (soft > 0.5)[certain])
        assert found.any()


def test_padding_with_a_ring_of_zeros_is_the_same_lookup():
    """maskrcnn-benchmark's way: a ring of zero cells, the box as much larger, and no zeros in the lookup."""
    g = torch.Generator().manual_seed(1)
    logits, box, size = torch.randn(28, 28, generator=g), torch.tensor([7.0, 5.0, 49.0, 40.0]), (50, 60)
    ringed = F.pad(logits.sigmoid(), (1, 1, 1, 1)).logit(eps=1e-9)
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * 30 / 28
    larger = torch.cat([centre - half, centre + half])
    (wanted,) = paste_masks(ringed[None], larger[None], size)
    (found,) = paste_masks(logits[None], box[None], size, padded=True)
    wanted, found = (rle.decode(each).astype(bool) for each in (wanted, found))
    assert (wanted != found).sum() <= 1 and found.any()


# Losses


def slow_smooth_l1(error: float, beta: float) -> float:
    error = abs(error)
    return error - beta / 2 if error >= beta else error**2 / (2 * beta)


@pytest.mark.parametrize("beta", [0.0, 1 / 9, 1.0])
def test_box_loss_by_a_loop(beta):
    g = torch.Generator().manual_seed(2)
    deltas, wanted = (torch.randn(9, 4, generator=g, dtype=torch.float64) for _ in range(2))
    objects = torch.tensor([1, 0, 1, 1, 0, 0, 1, 0, 1], dtype=torch.bool)
    wanted[~objects] = float("inf")  # of background there is no box, whatever stands there
    deltas.requires_grad_()
    loss = box_loss(deltas, wanted, objects, beta)
    kept = zip(deltas[objects].flatten().tolist(), wanted[objects].flatten().tolist(), strict=True)
    assert loss.item() == pytest.approx(sum(slow_smooth_l1(a - b, beta) for a, b in kept))
    loss.backward()
    assert deltas.grad.isfinite().all() and not deltas.grad[~objects].any()


def test_the_default_has_torchvisions_own_losses(monkeypatch):
    """The library's two functions on the same samples, and so the same gradients."""
    from torchvision.models.detection.roi_heads import fastrcnn_loss
    from torchvision.models.detection.rpn import RegionProposalNetwork

    net, scene = build().eval(), batch(masks="all")
    seen = {}

    def watched(self, *args):
        seen["rpn"] = [x.detach() if isinstance(x, torch.Tensor) else x for x in args]
        seen["state"] = torch.random.get_rng_state()
        return ours(self, *args)

    ours = type(net.rpn).compute_loss
    monkeypatch.setattr(type(net.rpn), "compute_loss", watched)
    select, boxes = net.roi_heads.select_training_samples, net.roi_heads._boxes
    net.roi_heads.select_training_samples = lambda *a: seen.setdefault("chosen", select(*a))
    net.roi_heads._boxes = lambda *a: seen.setdefault("boxes", boxes(*a))
    losses = values(net.losses(scene, generator()))
    with torch.random.fork_rng():
        torch.random.set_rng_state(seen["state"])
        theirs = RegionProposalNetwork.compute_loss(net.rpn, *seen["rpn"])
    _, _, labels, deltas = seen["chosen"]
    theirs += fastrcnn_loss(*seen["boxes"], labels, deltas)
    for name, value in zip(("loss_rpn_cls", "loss_rpn_box", "loss_cls", "loss_box"), theirs, strict=True):
        assert losses[name] == pytest.approx(value.item(), rel=1e-6)


def test_box_losses_grow_as_beta_falls():
    found = {code: values(build(model__details=code).eval().losses(batch(masks="all"), generator()))
             for code in ("own", "official")}  # fmt: skip
    assert found["official"]["loss_rpn_box"] > found["own"]["loss_rpn_box"] > 0


# Proposals of a batch


def test_the_best_of_all_images_together():
    g = torch.Generator().manual_seed(3)
    counts = (5, 0, 9)
    boxes = [torch.rand(n, 4, generator=g) for n in counts]
    scores = [torch.rand(n, generator=g) for n in counts]
    ranked = sorted(itertools.chain(*(s.tolist() for s in scores)), reverse=True)
    kept = best_of_all(boxes, scores, 6)
    for all_boxes, all_scores, some in zip(boxes, scores, kept, strict=True):
        wanted = [box for box, score in zip(all_boxes, all_scores, strict=True) if score >= ranked[5]]
        assert some.tolist() == [box.tolist() for box in wanted]
    assert sum(map(len, kept)) == 6
    assert all(torch.equal(a, b) for a, b in zip(boxes, best_of_all(boxes, scores, 99), strict=True))


def test_images_share_proposals_in_training_alone():
    """Four images of 64 pixels: 2 x 100 regions reach the heads, where each image had 100."""
    scene, counts = batch(images=4, masks="all"), {}
    for code in ("own", "maskrcnn-benchmark"):
        net = build(model__details=code)
        images = net._padded(scene.images, scene.sizes)
        features = net.backbone(images.tensors, images.image_sizes)
        targets = [{"boxes": target.boxes} for target in scene.targets]
        proposals, _ = net.rpn(images, features, targets)
        alone, _ = net.rpn(images, features)
        counts[code] = [sum(map(len, each)) for each in (proposals, alone)]
    assert counts["own"][0] > 200 == counts["maskrcnn-benchmark"][0]
    assert counts["maskrcnn-benchmark"][1] == counts["own"][1]


# Rates of biases


@pytest.mark.parametrize("code", CODES)
def test_rates_of_biases_in_the_optimiser(code):
    net = build(model__details=code, model__norm="batch")
    groups = net.parameter_groups(ScheduleSpec(lr=0.1, weight_decay=0.5, backbone_factor=0.25))
    names = {id(p): name for name, p in net.named_parameters()}
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in net.parameters() if p.requires_grad), "each once"
    twice = code == "maskrcnn-benchmark"
    for group in groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            slow = 0.25 if name.startswith("backbone.body") else 1.0
            bias = name.endswith("bias")
            assert group["lr_scale"] == slow * (2 if twice and bias else 1), name
            norm = parameter.dim() == 1 and not bias  # scales of batch norm
            if (twice and bias) or norm:
                assert group["weight_decay"] == 0, name
            elif not bias:
                assert group["weight_decay"] == 0.5, name
    if not twice:
        assert any(names[id(p)].endswith("bias") for g in groups if g["weight_decay"] for p in g["params"])


@pytest.mark.parametrize("code", CODES[1:])
def test_every_code_trains_and_predicts(code):
    from wsis.data.structures import Sample

    net = build(model__details=code, predict__score=0.0, predict__detections=4)
    losses = net.losses(batch(masks="all"), generator())
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)
    (found,) = net.eval().predict([Sample(batch().images[0], (64, 64), 1)])
    assert len(found.masks) == 4 and np.isfinite(found.scores.numpy()).all()
