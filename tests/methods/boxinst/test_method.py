"""CondInst and BoxInst: which losses a recipe has, batched equals single, empty targets, masks unused."""

import pytest
import torch

from tests.methods.scenes import batch, empty, generator, recipe
from wsis.data.structures import Batch, Sample, Targets
from wsis.methods import build_method
from wsis.methods.mask_predictions import MaskPredictions

DETECTION = {"loss_cls", "loss_box", "loss_ctr"}
RECIPES = {
    "boxinst": (recipe(), None, {"loss_proj", "loss_pair"}),
    "projection": (recipe(loss__pairwise=None), None, {"loss_proj"}),
    "released": (recipe(variant="released"), None, {"loss_proj", "loss_pair"}),
    "dice": (recipe(method="condinst", data__supervision="masks"), "all", {"loss_dice"}),
    "proposed": (
        recipe(data__supervision="masks", loss__full="proposed"),
        "all",
        {"loss_proj", "loss_edge", "loss_pair"},
    ),
    "semi": (recipe(data__supervision="masks-voc"), "some", {"loss_dice", "loss_proj", "loss_pair"}),
    "semi, masks only": (
        recipe(data__supervision="masks-voc", loss__projection=False, loss__pairwise=None),
        "some",
        {"loss_dice"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_losses_are_those_of_the_recipe_also_without_objects(name):
    spec, masks, expected = RECIPES[name]
    torch.manual_seed(0)
    method = build_method(spec, 3)
    scene = batch(masks=masks)
    for b in (scene, empty(scene)):
        losses = method.losses(b, generator())
        assert losses.keys() == DETECTION | expected
        assert all(torch.isfinite(value) for value in losses.values())
        method.zero_grad()
        sum(losses.values()).backward()
        missing = [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]
        assert not missing and not method.idle  # or several devices would wait for each other


def gradient(spec, masks, names):
    """Of the sum of these losses, by parameter; zero where there is none."""
    torch.manual_seed(0)
    method = build_method(spec, 3)
    losses = method.losses(batch(masks=masks), generator())
    sum(losses[name] for name in names).backward()
    return torch.cat([(p * 0 if p.grad is None else p.grad).ravel() for p in method.parameters()])


@pytest.mark.parametrize("method", ["boxinst", "sim"])
@pytest.mark.parametrize(
    ("term", "names"),
    [("detection", DETECTION), ("projection", {"loss_proj"}), ("pairwise", {"loss_pair"})],
)
def test_a_weight_scales_its_terms_gradient_alone(method, term, names):
    own = {"sim": {}} if method == "sim" else {}
    plain, heavy = recipe(method=method, **own), recipe(method=method, **own, loss__weights={term: 3.0})
    assert plain.id == recipe(method=method, **own, loss__weights={term: 1.0}).id != heavy.id
    others = (DETECTION | {"loss_proj", "loss_pair"}) - names
    before, after = (gradient(spec, None, names) for spec in (plain, heavy))
    assert before.abs().max() > 0
    torch.testing.assert_close(after, 3 * before)
    torch.testing.assert_close(gradient(heavy, None, others), gradient(plain, None, others))


def test_true_edge_labels_have_the_weight_of_the_pairwise_term():
    given = {"data__supervision": "masks", "loss__full": "proposed"}
    spec = [recipe(**given), recipe(**given, loss__weights={"pairwise": 0.5})]
    plain, light = (gradient(each, "all", {"loss_edge"}) for each in spec)
    assert plain.abs().max() > 0
    torch.testing.assert_close(light, plain / 2)


def test_box_losses_do_not_see_masks():
    torch.manual_seed(0)
    method = build_method(recipe(data__supervision="masks-voc", loss__full="none"), 3).eval()
    some = batch(masks="some")
    other = [
        Targets(t.boxes, t.labels, ~t.masks & t.has_mask[:, None, None], t.has_mask) for t in some.targets
    ]
    changed = Batch(some.images, some.valid, some.scales, other, some.ids)
    first, second = (method.losses(b, generator()) for b in (some, changed))
    assert {k: v.item() for k, v in first.items()} == {k: v.item() for k, v in second.items()}


def test_mask_loss_of_a_batch_is_the_average_over_its_objects():
    torch.manual_seed(0)
    method = build_method(recipe(), 3).eval()
    pair = batch(images=2, objects=2, size=64)
    single = [
        Batch(pair.images[i : i + 1], pair.valid[i : i + 1], pair.scales[:1], pair.targets[i : i + 1], [i])
        for i in range(2)
    ]
    together = method.losses(pair, generator())
    alone = [method.losses(b, generator()) for b in single]
    for name in ("loss_proj", "loss_pair"):
        mean = sum(losses[name] for losses in alone) / 2
        torch.testing.assert_close(together[name], mean, rtol=1e-4, atol=1e-6)


def test_prediction_of_a_batch_equals_that_of_each_image():
    torch.manual_seed(0)
    method = build_method(recipe(predict__score=0.0), 3).eval()
    images = batch(images=2).images
    samples = [Sample(image, (100, 90), i) for i, image in enumerate(images)]
    together = method.predict(samples)
    for sample, found in zip(samples, together, strict=True):
        (alone,) = method.predict([sample])
        assert len(found.scores) > 0
        torch.testing.assert_close(found.boxes, alone.boxes, rtol=1e-3, atol=1e-2)
        torch.testing.assert_close(found.scores, alone.scores, rtol=1e-4, atol=1e-5)
        assert all(mask["size"] == [100, 90] for mask in found.masks)
        assert (found.scores[:-1] >= found.scores[1:]).all()


def test_box_masks_are_the_boxes():
    from pycocotools import mask as rle

    torch.manual_seed(0)
    spec = recipe(predict__score=0.0)
    method = build_method(spec, 3).eval()
    boxes_only = build_method(
        spec.model_copy(update={"predict": spec.predict.model_copy(update={"masks": "boxes"})}), 3
    )
    boxes_only.load_state_dict(method.state_dict())
    sample = Sample(batch().images[0], (64, 64), 1)
    (found,) = boxes_only.eval().predict([sample])
    (normal,) = method.predict([sample])
    torch.testing.assert_close(found.boxes, normal.boxes)
    for box, mask in zip(found.boxes, found.masks, strict=True):
        area = (box[2:] - box[:2]).clamp(min=0).prod().item()
        perimeter = 2 * (box[2:] - box[:2]).sum().item()
        assert abs(rle.area(mask) - area) <= perimeter + 4


def test_grabcut_takes_the_place_of_the_masks_and_of_nothing_else():
    """In the frame of the original image, however the network's input was resized; twice the same."""
    from pycocotools import mask as rle

    from wsis.data.pixel_boxes import pixel_box

    torch.manual_seed(0)
    spec = recipe(predict__score=0.0, predict__detections=6)
    cut = spec.model_copy(update={"predict": spec.predict.model_copy(update={"masks": "grabcut"})})
    method, cutting = build_method(spec, 3).eval(), build_method(cut, 3).eval()
    cutting.load_state_dict(method.state_dict())
    sample = Sample(batch().images[0], (90, 100), 1)
    (found,), (again,), (normal,) = (
        cutting.predict([sample]),
        cutting.predict([sample]),
        method.predict([sample]),
    )
    assert found.masks == again.masks != normal.masks
    for name in ("boxes", "labels", "scores"):
        assert torch.equal(getattr(found, name), getattr(normal, name))
    for box, mask in zip(found.boxes, found.masks, strict=True):
        assert mask["size"] == [90, 100]
        pixels, inside = pixel_box(box, 90, 100), rle.decode(mask)
        assert inside.any() == (pixels is not None)
        if pixels:
            x0, y0, x1, y1 = pixels
            assert inside.sum() == inside[y0:y1, x0:x1].sum()


def test_ramp_starts_small_and_ends_at_one():
    method = build_method(recipe(loss__pairwise__warmup=4), 3)
    values = []
    for step in range(6):
        values.append(method.ramp().item())
        method.on_step_end(step)
    assert values == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert method.state_dict()["iteration"] == 6


def test_ten_steps_on_one_batch_lower_the_loss():
    torch.manual_seed(0)
    method = build_method(recipe(), 3)
    optimizer = torch.optim.AdamW(method.parameters(), 2e-3)
    scene, history = batch(), []
    for step in range(12):
        loss = sum(method.losses(scene, generator()).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.on_step_end(step)
        history.append(loss.item())
    assert min(history[-3:]) < 0.8 * history[0]


def test_a_detector_alone_trains_no_mask_part():
    torch.manual_seed(0)
    method = build_method(recipe(loss__full="none", loss__projection=False, loss__pairwise=None), 3)
    losses = method.losses(batch(), generator())
    assert losses.keys() == DETECTION
    sum(losses.values()).backward()
    for name, parameter in method.named_parameters():
        if name.startswith(("mask_branch", "head.controller")):
            assert parameter.grad is None or not parameter.grad.any()


def test_what_has_no_loss_takes_no_proposal():
    method = build_method(
        recipe(data__supervision="masks-voc", loss__projection=False, loss__pairwise=None), 3
    )
    given = torch.tensor([True, False, True])
    assert method.supervised(given).tolist() == [True, False, True]
    both = build_method(recipe(data__supervision="masks-voc"), 3)
    assert both.supervised(given).all()


def test_target_masks_are_those_of_each_instances_own_object():
    method = build_method(recipe(data__supervision="masks"), 3)
    scene = batch(images=3, objects=2, masks="all")
    scene.targets[1] = Targets(
        torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), torch.zeros(0, 64, 64) > 0
    )
    image, number = torch.tensor([2, 0, 2, 0]), torch.tensor([3, 0, 2, 1])  # the second image has none
    masks = MaskPredictions(
        torch.zeros(4, 32, 32), image, number, torch.ones(4) / 4, torch.zeros(4, 4), image >= 0
    )
    chosen = torch.tensor([True, True, False, True])
    found = method.target_masks(scene, masks.where(chosen))
    pairs = [(2, 1), (0, 0), (0, 1)]
    for grid, (i, t) in zip(found, pairs, strict=True):
        mask = scene.targets[i].masks[t].reshape(32, 2, 32, 2).float().mean((1, 3))
        assert torch.equal(grid, mask >= 0.5)
