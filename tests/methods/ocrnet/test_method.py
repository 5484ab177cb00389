"""OCRNet's losses, and the semantic map that its regions are."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as rle

from tests.methods.baiseg.scenes import CLASSES, VOID, batch_of, generator, sample, scene
from tests.methods.ocrnet.scenes import network
from wsis.engine.shards import give_totals


def test_losses_are_mean_cross_entropies_of_known_pixels():
    net, batch = network(), batch_of(scene(0), scene(1))
    losses = net.losses(batch, generator())
    logits = net._logits(batch.images, batch.semantic.shape[-2:])
    known = batch.semantic != VOID
    for name, weight, each in zip(("loss_semantic", "loss_regions"), (1.0, 0.4), logits, strict=True):
        probabilities = each.softmax(1).gather(1, batch.semantic.long().clamp(max=CLASSES)[:, None])[:, 0]
        assert torch.allclose(losses[name], -weight * probabilities[known].log().mean(), atol=1e-5)


def test_the_loss_of_a_split_batch_is_that_of_the_whole():
    net = network().eval()  # batch norm of an image is no matter of the losses
    maps = [scene(0), np.full_like(scene(1), VOID), scene(2)]
    maps[1][:4, :4] = 1
    whole = net.losses(batch_of(*maps), generator())
    shards = [batch_of(each) for each in maps]
    for seed, shard in enumerate(shards):  # the noise of an image depends on its place
        shard.images = batch_of(*maps).images[seed : seed + 1]
    give_totals(shards, [net.totals(shard, generator()) for shard in shards], 1)
    parts = [net.losses(shard, generator()) for shard in shards]
    for name, loss in whole.items():
        assert torch.allclose(sum(part[name] for part in parts) / len(parts), loss, atol=1e-5)


def test_regions_are_the_map_of_the_likeliest_classes():
    net = network().eval()
    wide = np.pad(scene(3), ((0, 0), (0, 7)))  # no multiple of 16
    with torch.no_grad():
        (instances,) = net.predict([sample(wide)])
    masks = [rle.decode(mask).astype(bool) for mask in instances.masks]
    assert all(mask.shape == wide.shape for mask in masks)
    assert len(set(instances.labels.tolist())) == len(masks)
    assert np.sum(masks, 0).max() <= 1
    image = F.interpolate(sample(wide).image[None].float(), (48, 64), mode="bilinear", align_corners=False)
    with torch.no_grad():
        logits, _ = net._logits(image, wide.shape)
    expected = logits[0].argmax(0).numpy()
    painted = sum(((label + 1) * m for label, m in zip(instances.labels.tolist(), masks, strict=True)), 0)
    assert np.array_equal(painted + np.zeros_like(expected), expected)
    for box, mask in zip(instances.boxes.tolist(), masks, strict=True):
        x0, y0, x1, y1 = map(int, box)
        assert mask[y0:y1, x0:x1].sum() == mask.sum() and mask[y0].any() and mask[:, x1 - 1].any()
