"""Which positives are kept, and their weights."""

import pytest
import torch

from tests.methods.scenes import generator
from wsis.declare.specs.loss import LossSpec
from wsis.losses.detection import Positives
from wsis.methods.condinst.proposals import keep_proposals
from wsis.methods.mask_predictions import average_weights


def positives(seed=0, count=200, images=3, objects=7):
    g = torch.Generator().manual_seed(seed)
    image = torch.randint(0, images, (count,), generator=g).sort().values
    number = image * objects + torch.randint(0, objects, (count,), generator=g)
    rest = torch.zeros(count, dtype=torch.long)
    return Positives(image, torch.arange(count), number, rest, torch.ones(count, 4)), torch.rand(
        count, generator=g
    )


def test_one_keeps_exactly_one_of_every_object():
    found, scores = positives()
    kept = keep_proposals(found, scores, LossSpec(proposals="one"), 3, generator())
    objects = found.object
    assert sorted(objects[kept].tolist()) == sorted(objects.unique().tolist())


def test_topk_shares_an_image_evenly_and_keeps_the_best():
    found, scores = positives()
    kept = set(
        keep_proposals(found, scores, LossSpec(proposals="topk", max_proposals=21), 3, generator()).tolist()
    )
    pairs = list(zip(found.image.tolist(), found.object.tolist(), strict=True))
    for pair in set(pairs):
        own = [i for i, p in enumerate(pairs) if p == pair]
        number = len({p for p in pairs if p[0] == pair[0]})
        best = sorted(own, key=lambda i: -scores[i])[: max(21 // number, 1)]
        assert {i for i in own if i in kept} == set(best)


def test_random_keeps_all_below_the_limit_of_two_images_and_the_limit_above():
    found, scores = positives()
    for limit, images, expected in [(500, 2, 200), (50, 2, 50), (50, 1, 50), (50, 6, 150), (50, 16, 200)]:
        spec = LossSpec(proposals="random", max_proposals=limit)
        kept = keep_proposals(found, scores, spec, images, generator())
        assert len(kept.unique()) == len(kept) == expected


@pytest.mark.parametrize("proposals", ["one", "topk", "random"])
def test_no_positives(proposals):
    found, scores = positives(count=0)
    spec = LossSpec(proposals=proposals, max_proposals=4)
    assert len(keep_proposals(found, scores, spec, 3, generator())) == 0


def test_weights():
    objects = torch.tensor([4, 4, 4, 9])
    torch.testing.assert_close(
        average_weights(objects, "instances"), torch.tensor([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    )
    torch.testing.assert_close(average_weights(objects, "locations"), torch.full((4,), 0.25))
