"""Mask R-CNN: dropped masks, sampling from the generator, inference, empty images, and that it learns."""

from dataclasses import replace

import pytest
import torch
from pycocotools import mask as rle

from tests.methods.scenes import batch, empty, generator, recipe
from wsis.data.structures import Batch, Sample, Targets
from wsis.errors import WsisError
from wsis.methods.bbtp.method import BBTP
from wsis.methods.mask_rcnn.layout import RESNET, TINY
from wsis.methods.mask_rcnn.method import MaskRCNN
from wsis.methods.mask_rcnn.roi_heads import roi_targets

NAMES = {"loss_rpn_cls", "loss_rpn_box", "loss_cls", "loss_box", "loss_mask"}


def spec(method="mask_rcnn", **overrides):
    supervision = {"data__supervision": "boxes" if method == "bbtp" else "masks"}
    return recipe(method=method, **(supervision | overrides))


def build(method="mask_rcnn", seed=0, **overrides):
    torch.manual_seed(seed)
    return {"mask_rcnn": MaskRCNN, "bbtp": BBTP}[method](spec(method, **overrides), 3)


def values(losses):
    return {name: value.item() for name, value in losses.items()}


def some_dropped(scene: Batch, dropped: list[list[bool]]) -> Batch:
    targets = []
    for target, gone in zip(scene.targets, dropped, strict=True):
        keep = ~torch.tensor(gone)
        masks = target.masks & keep[:, None, None]
        targets.append(Targets(target.boxes, target.labels, masks, keep))
    return replace(scene, targets=targets)


@pytest.mark.parametrize("method", ["mask_rcnn", "bbtp"])
@pytest.mark.parametrize("training", [True, False])
def test_every_kind_of_batch_has_all_losses_and_gradients(method, training):
    net = build(method).train(training)
    scene = batch(masks="all")
    blank = empty(scene)
    mixed = replace(scene, targets=[scene.targets[0], blank.targets[1]])
    for b in (scene, batch(masks="some"), some_dropped(scene, [[True] * 3] * 2), batch(), blank, mixed):
        losses = net.losses(b, generator())
        assert losses.keys() == NAMES
        assert all(torch.isfinite(value) for value in losses.values())
        net.zero_grad()
        sum(losses.values()).backward()
        missing = [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None]
        assert not missing and not net.idle  # or several devices would wait for each other


def test_dropped_masks_leave_the_mask_loss_and_nothing_else():
    net, scene = build().eval(), batch(masks="all")
    whole = values(net.losses(scene, generator()))
    none = values(net.losses(some_dropped(scene, [[True] * 3] * 2), generator()))
    assert none["loss_mask"] == 0
    part = values(net.losses(some_dropped(scene, [[False, True, False], [True, True, False]]), generator()))
    for name in NAMES - {"loss_mask"}:
        assert whole[name] == none[name] == part[name]
    # A dropped object's mask isn't read: any other content gives the same loss.
    target = scene.targets[0]
    gone = torch.tensor([True, False, True])
    other = Targets(target.boxes, target.labels, target.masks ^ ~gone[:, None, None], gone)
    first = Targets(target.boxes, target.labels, target.masks, gone)
    found = [net.losses(replace(scene, targets=[t, scene.targets[1]]), generator()) for t in (first, other)]
    assert values(found[0]) == values(found[1])


def test_mask_loss_is_the_mean_over_the_rois_of_kept_objects():
    net, scene = build().eval(), batch(masks="all")
    dropped = some_dropped(scene, [[False, True, False], [True, True, False]])
    seen = []

    def watched(logits, rois, owners, targets):
        cells = []
        start = 0
        for image, (boxes, own) in enumerate(zip(rois, owners, strict=True)):
            for box, owner in zip(boxes, own, strict=True):
                cells.append((owner.item(), box, logits[start], image))
                start += 1
        seen.append(cells)
        return original(logits, rois, owners, targets)

    original = net.roi_heads.mask_loss
    net.roi_heads.mask_loss = watched
    net.losses(scene, generator())
    part = net.losses(dropped, generator())["loss_mask"]
    kept = [[0, 2], [2]]
    whole = [cell for cell in seen[0] if cell[0] in kept[cell[3]]]
    assert len(whole) == len(seen[1]) > 0
    total = 0.0
    for (owner, box, logits, image), (_, same_box, same_logits, _) in zip(whole, seen[1], strict=True):
        assert torch.equal(box, same_box)
        torch.testing.assert_close(logits, same_logits)
        wanted = roi_targets(scene.targets[image].masks, box[None], torch.tensor([owner]), len(logits))[0]
        p = logits.double().sigmoid()
        total += -(wanted * p.log() + (1 - wanted) * (1 - p).log()).mean().item()
    assert part.item() == pytest.approx(total / len(whole), rel=1e-4)


def test_sampling_depends_on_the_generator_alone():
    net, scene = build().eval(), batch(masks="all", objects=6)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = values(net.losses(scene, generator()))
    assert torch.equal(before, torch.random.get_rng_state())  # the process's draws go on undisturbed
    torch.manual_seed(2)
    assert values(net.losses(scene, generator())) == first
    assert values(net.losses(scene, torch.Generator().manual_seed(7))) != first


def test_proposals_are_clipped_to_what_is_valid():
    net = build().eval()
    scene = batch(masks="all", size=64)
    wide = torch.zeros(2, 64, 64, dtype=torch.bool)
    wide[:, :48, :56] = True
    images = net._padded(scene.images, [(48, 56)] * 2)
    proposals, _ = net.rpn(images, net.backbone(images.tensors))
    for boxes in proposals:
        assert boxes[:, 0::2].max() <= 56 and boxes[:, 1::2].max() <= 48
    losses = net.losses(replace(scene, valid=wide), generator())
    assert all(torch.isfinite(v) for v in losses.values())


def test_images_of_any_size_are_padded_to_the_coarsest_stride():
    net = build()
    images = net._padded(torch.zeros(1, 3, 50, 41, dtype=torch.uint8), [(50, 41)])
    assert images.tensors.shape == (1, 3, 64, 48)
    assert images.image_sizes == [(50, 41)]
    assert images.tensors[0, :, 60, 45].tolist() == [124, 116, 104]


def test_half_precision_changes_losses_little():
    net, scene = build().eval(), batch(masks="all", size=96)
    plain = values(net.losses(scene, generator()))
    with torch.autocast("cpu", torch.bfloat16):
        half = net.losses(scene, generator())
    assert all(value.dtype == torch.float32 for value in half.values())
    for name in ("loss_rpn_cls", "loss_rpn_box", "loss_cls"):  # the others sample other RoIs
        assert half[name].item() == pytest.approx(plain[name], rel=0.1, abs=0.02)


def test_prediction_of_a_batch_equals_that_of_each_image():
    net = build(predict__score=0.0, predict__detections=7, predict__nms=0.5).eval()
    samples = [Sample(image, (100, 90), i) for i, image in enumerate(batch(images=3).images)]
    for sample, found in zip(samples, net.predict(samples), strict=True):
        (alone,) = net.predict([sample])
        assert 0 < len(found.scores) <= 7
        torch.testing.assert_close(found.boxes, alone.boxes, rtol=1e-3, atol=1e-2)
        torch.testing.assert_close(found.scores, alone.scores, rtol=1e-4, atol=1e-5)
        assert torch.equal(found.labels, alone.labels)
        assert all(mask["size"] == [100, 90] for mask in found.masks)
        for one, other in zip(found.masks, alone.masks, strict=True):
            assert rle.area(rle.merge([one, other], intersect=True)) >= 0.98 * rle.area(one)
        assert (found.scores[:-1] >= found.scores[1:]).all()
        assert found.boxes.min() >= 0 and found.boxes[:, 2].max() <= 90 and found.boxes[:, 3].max() <= 100
        assert set(found.labels.tolist()) <= {0, 1, 2}


def test_grabcut_is_inside_the_detected_boxes():
    sample = Sample(batch().images[0], (64, 64), 1)
    (found,) = (
        build(predict__score=0.0, predict__detections=5, predict__masks="grabcut").eval().predict([sample])
    )
    assert len(found.masks) == 5
    for box, mask in zip(found.boxes, found.masks, strict=True):
        assert rle.area(mask) <= (box[2:] - box[:2]).add(1).prod()


def test_nothing_found_and_boxes_as_masks():
    sample = Sample(batch().images[0], (64, 64), 1)
    (found,) = build(predict__score=1.0).eval().predict([sample])
    assert (found.boxes.shape, len(found.scores), found.masks) == ((0, 4), 0, [])
    (boxed,) = build(predict__score=0.0, predict__masks="boxes").eval().predict([sample])
    for box, mask in zip(boxed.boxes, boxed.masks, strict=True):
        assert abs(rle.area(mask) - (box[2:] - box[:2]).prod()) <= 2 * (box[2:] - box[:2]).sum() + 4


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"model__backbone": "hrnet-w48"}, "Mask R-CNN has resnet50, resnet101, resnet101-dcn, swin-b, eff"),
        ({"model__neck": "bifpn"}, "model.neck"),
        ({"data__supervision": "boxes"}, "bbtp"),
    ],
)
def test_recipes_that_it_cannot_follow_are_refused(keys, message):
    with pytest.raises(WsisError, match=message):
        build(**keys)


def test_recipe_keys_reach_torchvision():
    net = build(predict__score=0.3, predict__nms=0.4, predict__detections=5, predict__pre_nms=50)
    heads = net.roi_heads
    assert (heads.score_thresh, heads.nms_thresh, heads.detections_per_img) == (0.3, 0.4, 5)
    assert net.eval().rpn.pre_nms_top_n() == 50
    assert heads.box_predictor.cls_score.out_features == 4  # three classes and background
    assert sum(p.numel() for p in build(model__channels=48).parameters()) == pytest.approx(0.58e6, rel=0.1)
    net.on_step_end(0)
    assert net.state_dict()["iteration"] == 1


def test_resnet_has_the_parameters_of_torchvisions_own():
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    resnet = {"model__backbone": "resnet50", "model__channels": 256}
    with torch.device("meta"):
        theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=4)
        ours, frozen = (MaskRCNN(spec(**resnet, model__norm=norm), 3) for norm in ("batch", "frozen"))
    shapes = [sorted(tuple(p.shape) for p in net.parameters()) for net in (ours, theirs)]
    assert shapes[0] == shapes[1]
    trained = {n for n, p in frozen.named_parameters() if p.requires_grad}
    assert not any(n.startswith(("backbone.body.stem", "backbone.body.c2")) for n in trained)
    assert any(n.startswith("backbone.body.c3") for n in trained)


def test_strides_and_levels_agree_with_the_features():
    for layout, backbone, channels in ((TINY, "tiny", 16), (RESNET, "resnet50", 256)):
        with torch.device("meta"):
            net = MaskRCNN(spec(model__backbone=backbone, model__channels=channels), 3)
            size = 2 * layout.strides[-1]
            features = net.backbone(torch.zeros(1, 3, size, size, dtype=torch.uint8))
        assert [size // x.shape[-1] for x in features.values()] == list(layout.strides)
        assert list(features)[: len(layout.names)] == [str(level) for level in range(len(layout.names))]
        assert len(features) == len(layout.anchors)


def discs(size: int = 64) -> Batch:
    """Two images with two bright objects each on a dark ground: a disc and a triangle."""
    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    images, targets = [], []
    for shift in (0, 8):
        disc = (x - 18 - shift) ** 2 + (y - 20) ** 2 < 13**2
        triangle = (y > 34 + (x - 40).abs() * 1.4) & (y < 60)
        masks = torch.stack([disc, triangle])
        image = torch.full((3, size, size), 40.0)
        image[:, disc] = torch.tensor([200.0, 60, 60])[:, None]
        image[:, triangle] = torch.tensor([60.0, 60, 220])[:, None]
        boxes = [
            [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] for ys, xs in (m.nonzero().T for m in masks)
        ]
        labels = torch.tensor([0, 1])
        targets.append(Targets(torch.tensor(boxes).float(), labels, masks, torch.ones(2).bool()))
        images.append(image.to(torch.uint8))
    valid = torch.ones(2, size, size, dtype=torch.bool)
    return Batch(torch.stack(images), valid, torch.ones(2), targets, [0, 1])


def best_masks(method: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """After 100 steps on `discs`: for each object its mask and the best predicted one of its class."""
    net, scene = build(method, model__channels=32, predict__nms=0.5), discs()
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
    draws = generator()
    for _ in range(100):
        loss = sum(net.losses(scene, draws).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = net.eval().predict([Sample(image, (64, 64), i) for i, image in enumerate(scene.images)])
    pairs = []
    for instances, target in zip(found, scene.targets, strict=True):
        for label, mask in zip(target.labels, target.masks, strict=True):
            best = int((instances.labels == label).nonzero()[0])
            assert instances.scores[best] > 0.5
            pairs.append((mask, torch.from_numpy(rle.decode(instances.masks[best])).bool()))
    return pairs


def test_two_images_are_learnt_by_heart():
    for mask, found in best_masks("mask_rcnn"):
        assert (found & mask).sum() / (found | mask).sum() > 0.75


def test_bbtp_learns_masks_as_wide_and_high_as_the_objects():
    for mask, found in best_masks("bbtp"):
        for axis in (0, 1):
            true, predicted = mask.any(axis), found.any(axis)
            assert (true & predicted).sum() / (true | predicted).sum() > 0.75


def test_detectron2s_anchors_are_not_rounded():
    own, official = (
        build(model__details=details).rpn.anchor_generator.cell_anchors for details in ("own", "official")
    )
    for rounded, exact in zip(own, official, strict=True):
        assert torch.equal(exact.round(), rounded) and not torch.equal(exact, rounded)
        sides = exact[:, 2:] - exact[:, :2]
        torch.testing.assert_close(sides.prod(1), sides.prod(1)[:1].expand(3))
        torch.testing.assert_close(sides[:, 1] / sides[:, 0], torch.tensor([0.5, 1.0, 2.0]))
