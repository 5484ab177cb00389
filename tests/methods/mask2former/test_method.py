"""Methods on Mask2Former's network: matching, losses written out, predictions, what is refused."""

import importlib
import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pycocotools import mask as rle

from tests.methods.scenes import batch, empty, generator, recipe
from wsis.data.loading import train_batches
from wsis.data.structures import Sample, Targets
from wsis.declare.specs.model import ModelSpec
from wsis.errors import WsisError
from wsis.losses.plain import plain_pairwise_loss
from wsis.losses.projection import grid_rectangles, projection_loss
from wsis.methods import build_method
from wsis.methods.mask2former.matching import match, shadow_costs
from wsis.methods.mask2former.network import Queries, QueryNetwork


def queries(**over):
    """BoxInst on the network, in evaluation mode: batch norm sees images apart."""
    torch.manual_seed(0)
    return build_method(recipe(model__head="mask2former", **over), 3).eval()


def random_scene(predictions=2, images=2, number=4, classes=3, side=16):
    g = torch.Generator().manual_seed(5)
    masks = [3 * torch.randn(images, number, side, side, generator=g) for _ in range(predictions)]
    logits = torch.randn(predictions, images, number, classes + 1, generator=g)
    return Queries(torch.zeros(images, 8, side, side), logits, masks)


def test_the_matching_is_the_cheapest_of_all():
    """Every assignment tried; costs by the loss itself."""
    scene, targets = random_scene(), batch(objects=3).targets
    targets[1] = Targets(targets[1].boxes[:2], targets[1].labels[:2])
    found = match(scene, targets, 2.0, 5.0)
    assert found.image.tolist() == [0, 0, 0, 1, 1] and found.object.tolist() == [[0, 1, 2, 3, 4]] * 2
    for layer, image in itertools.product(range(2), range(2)):
        target, masks = targets[image], scene.masks[layer][image]
        rectangles = grid_rectangles(target.boxes, 4, 16, 16)
        likely = scene.classes[layer, image].softmax(1)
        cost = torch.stack([projection_loss(m.expand(len(rectangles), -1, -1), rectangles) for m in masks])
        torch.testing.assert_close(shadow_costs(masks, rectangles), cost)
        cost = 5 * cost - 2 * likely[:, target.labels]
        ways = itertools.permutations(range(4), len(rectangles))
        cheapest = min(ways, key=lambda way: sum(cost[q, g] for g, q in enumerate(way)))
        assert found.query[layer][found.image == image].tolist() == [*cheapest]


def test_where_objects_outnumber_queries_some_have_none_and_no_number_is_no_obstacle():
    scene = random_scene(number=2)
    scene.masks[0][0] = torch.nan
    found = match(scene, batch(objects=3).targets, 2.0, 5.0)
    assert found.image.tolist() == [0, 0, 1, 1]
    for query, objects in zip(found.query, found.object, strict=True):
        assert sorted(query[:2].tolist()) == sorted(query[2:].tolist()) == [0, 1]
        assert len({*objects.tolist()}) == 4 and objects.tolist() == sorted(objects.tolist())


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_losses_are_those_of_every_prediction_added_up(variant):
    method = queries(variant=variant, loss__weights={"detection": 2.0, "projection": 5.0, "pairwise": 3.0})
    scene, images = None, batch()
    method.iteration += 5  # past the pairwise term's warm-up
    with torch.no_grad():
        found = method.losses(images, generator())
        scene = method.scene(images)
    matches = method.matches(images, scene)
    spec, edges = method.recipe.loss.pairwise, method.edges(images)
    boxes = torch.cat([t.boxes for t in images.targets])
    labels = torch.cat([t.labels for t in images.targets])
    classes = projection = pairwise = 0.0
    logits, rectangles, owners = [], [], []
    for layer in range(method.predictions):
        of_query = {}
        for image, query, thing in zip(
            matches.image.tolist(), *(part[layer].tolist() for part in (matches.query, matches.object)),
            strict=True,
        ):  # fmt: skip
            of_query[image, query] = labels[thing]
            logits.append(scene.masks[layer][image, query])
            rectangles.append(grid_rectangles(boxes[thing][None], 4, 16, 16)[0])
            owners.append(image)
        total = weight = 0.0
        for image, query in itertools.product(range(2), range(scene.classes.shape[2])):
            truth = of_query.get((image, query), 3)
            share = 0.1 if truth == 3 else 1.0
            total -= share * F.log_softmax(scene.classes[layer, image, query], 0)[truth]
            weight += share
        classes += total / weight
        here = slice(-len(labels), None)
        masks, cells = torch.stack(logits[here]), torch.stack(rectangles[here])
        projection += projection_loss(masks, cells).mean()
        if variant == "paper":
            pairwise += plain_pairwise_loss(masks, cells, torch.tensor(owners[here]), edges, spec)
    if variant == "released":  # pooled over all that is supervised
        stacks = torch.stack(logits), torch.stack(rectangles), torch.tensor(owners)
        pairwise = method.predictions * plain_pairwise_loss(*stacks, edges, spec)
    expected = {"loss_cls": 2 * classes, "loss_proj": 5 * projection, "loss_pair": 3 * pairwise}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], torch.as_tensor(value), rtol=1e-4, atol=1e-5, msg=name)


def test_every_weight_has_a_gradient_with_and_without_objects():
    method = queries().train()
    for images in (batch(), empty(batch())):
        method.zero_grad()
        torch.stack([*method.losses(images, generator()).values()]).sum().backward()
        assert not [name for name, p in method.named_parameters() if p.grad is None]
    assert not method.idle


def sample(seed, size=(50, 70), inner=(56, 64)):
    images = batch(seed, images=1).images[0, :, : inner[0], : inner[1]]
    return Sample(images, size, seed)


def test_predictions_are_the_likeliest_pairs_and_their_masks():
    """Pair by pair, at full size."""
    method = queries(predict__score=0.0, predict__detections=20)
    given = sample(3)
    (found,) = method.predict([given])
    padded = torch.full((1, 3, 64, 64), 0, dtype=torch.uint8)
    padded[:] = torch.tensor([124, 116, 104], dtype=torch.uint8)[:, None, None]
    padded[0, :, :56, :64] = given.image
    with torch.no_grad():
        scene = method.network(padded)
    likely = scene.classes[-1, 0].softmax(1)[:, :3]
    expected = []
    for value, query, label in sorted(
        ((likely[q, c].item(), q, c) for q, c in itertools.product(range(len(likely)), range(3))),
        reverse=True,
    )[:20]:
        full = F.interpolate(scene.masks[-1][:1, query, None][0][None], scale_factor=4, mode="bilinear")
        full = F.interpolate(full[:, :, :56, :64], size=(50, 70), mode="bilinear")[0, 0]
        if (full > 0).any():
            expected.append((value * full[full > 0].sigmoid().mean().item(), label, full > 0))
    expected.sort(key=lambda each: -each[0])
    assert found.scores.tolist() == pytest.approx([score for score, *_ in expected], rel=1e-4)
    assert found.labels.tolist() == [label for _, label, _ in expected]
    for code, box, (_, _, mask) in zip(found.masks, found.boxes.tolist(), expected, strict=True):
        assert (rle.decode(code) == mask.numpy()).all()
        rows, columns = mask.nonzero().unbind(1)
        assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_images_are_predicted_alike_alone_and_together():
    method = queries(predict__score=0.0)
    samples = [sample(1), sample(2, size=(56, 64))]
    for together, one in zip(method.predict(samples), samples, strict=True):
        (alone,) = method.predict([one])
        torch.testing.assert_close(together.scores, alone.scores)
        assert together.labels.equal(alone.labels) and together.masks == alone.masks
    assert all(0 < len(found.masks) <= 100 for found in method.predict(samples))


def test_masks_of_given_boxes_are_of_the_queries_that_fit_them_best():
    method = queries(data__eval_short_side=64, data__max_side=64)
    image = batch(4, images=1).images[0].permute(1, 2, 0).numpy()
    boxes = np.array([[8, 10, 40, 52], [30.4, 20.2, 60, 60], [9, 9, 9, 9]], np.float32)
    (found,) = method.fill([method.box_sample(image, 1, boxes, np.full(3, -1))])
    with torch.no_grad():
        scene = method.network(torch.from_numpy(image).permute(2, 0, 1)[None])
    for made, box in zip(found, torch.from_numpy(boxes), strict=True):
        cells = grid_rectangles(box[None], 4, 16, 16)
        query = min(range(16), key=lambda q: projection_loss(scene.masks[-1][:, q], cells).item())
        assert made.label == scene.classes[-1, 0, query, :3].argmax()
        full = F.interpolate(scene.masks[-1][:, query, None], scale_factor=4, mode="bilinear")[0, 0] > 0
        x, y = torch.arange(64) + 0.5, torch.arange(64)[:, None] + 0.5
        inside = (x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])
        assert (rle.decode(made.rle) <= full.numpy()).all()
        assert np.abs(rle.decode(made.rle).sum() - int((full & inside).sum())) <= 64  # cells at the frame
    assert not rle.decode(found[2].rle).any()
    assert method.fill([method.box_sample(image, 1, boxes[:0], np.full(0, -1))]) == [[]]
    whole = queries(data__eval_short_side=64, data__max_side=64, predict__masks="boxes")
    (found,) = whole.fill([whole.box_sample(image, 1, boxes, np.full(3, -1))])
    assert [int(rle.area(each.rle)) for each in found] == [32 * 42, 30 * 40, 0]


def test_as_published_it_has_44_million_weights_and_a_slow_backbone():
    """Cheng et al., Table 1 and Mask2Former's code: norms and query embeddings are not decayed."""
    network = QueryNetwork(ModelSpec(backbone="resnet50", weights="none", norm="frozen"), 80)
    assert round(sum(p.numel() for p in network.parameters() if p.requires_grad) / 1e6) == 44
    assert network.predictions == 10 and network.head.config.num_queries == 100

    method = queries(schedule={"backbone_factor": 0.1, "weight_decay": 0.05})
    groups = method.parameter_groups(method.recipe.schedule)
    found = {id(p): (g["lr_scale"], g["weight_decay"]) for g in groups for p in g["params"]}
    names = {name: found[id(p)] for name, p in method.named_parameters()}
    for name, (scale, decay) in names.items():
        assert scale == (0.1 if name.startswith("network.backbone.") else 1.0), name
        if "layer_norm" in name or "queries_" in name or name.endswith("level_embed.weight"):
            assert decay == 0.0, name
    assert names["network.head.class_predictor.weight"] == (1.0, 0.05)


@pytest.mark.parametrize(
    ("over", "says"),
    [
        ({"method": "condinst"}, "method 'condinst' has no head 'mask2former' .it has: condinst"),
        (
            {"data__supervision": "masks"},
            r"'boxinst' with head 'mask2former' learns from boxes: data\.supervision is 'masks'",
        ),
        ({"model__trained": "base"}, "'boxinst' with head 'mask2former' has no base that is trained alone"),
        (
            {"model__trained": "masks", "init": {"parent": "a"}},
            "'boxinst' with head 'mask2former' has no base",
        ),
    ],
)
def test_what_the_network_has_not_is_refused(over, says):
    with pytest.raises(ValueError, match=says):
        recipe(model__head="mask2former", **over)


def test_without_its_package_it_is_one_clear_error(monkeypatch):
    name = "wsis.methods.mask2former.network"
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, name)
    with pytest.raises(WsisError, match=r"mask2former needs the package transformers, .*`make env`"):
        importlib.import_module(name)


def test_other_networks_do_not_import_the_package():
    code = (
        "import sys; from tests.methods.sim.toy import sim_recipe; from wsis.methods import build_method;"
        "build_method(sim_recipe(), 3); print('transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_it_learns_from_jittered_images_some_of_which_show_nothing(shapes):
    """The frame's padding is seen by the network alone; an image without objects has the class loss."""
    data = {"train": "train", "eval": "val", "augment": "scale_jitter", "short_side": (64,)}
    method = queries(data=data, schedule__batch=4)
    assert method.one_size
    stream, alone = train_batches(method.train().recipe, shapes), 0
    for (images,) in itertools.islice(stream, 6):
        images.targets[1] = Targets(images.targets[1].boxes[:0], images.targets[1].labels[:0])
        assert images.images.shape == (4, 3, 64, 64)
        alone += not images.valid.all()
        method.zero_grad()
        losses = method.losses(images, generator())
        torch.stack([*losses.values()]).sum().backward()
        gradients = [p.grad for p in method.parameters()]
        assert all(loss.isfinite() for loss in losses.values()) and losses["loss_pair"] > 0
        assert all(each is not None and each.isfinite().all() for each in gradients)
        method.on_step_end(0)
    assert alone > 3
