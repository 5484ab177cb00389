"""SIM as a whole: which losses it has and when, what they are made of, and what it refuses."""

import copy
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torchvision.ops import box_iou

from tests.methods.scenes import batch, empty, generator
from tests.methods.sim.toy import assert_follows, sim_recipe
from wsis.data.structures import Batch, Sample, Targets
from wsis.losses.projection import grid_rectangles
from wsis.methods import build_method
from wsis.methods.condinst.dynamic_head import dynamic_masks
from wsis.methods.sim.paste import Composite
from wsis.methods.sim.view import ltrb_iou

LOSSES = {"loss_cls", "loss_box", "loss_ctr", "loss_proj", "loss_pair", "loss_pseudo", "loss_paste"}


def sim(seed=0, **over):
    torch.manual_seed(seed)
    method = build_method(sim_recipe(**({"sim__warmup": 0} | over)), 3).train()
    method.begin()
    return method


def step(method, scene, seed=0):
    losses = method.losses(scene, torch.Generator().manual_seed(seed))
    sum(losses.values()).backward()
    return {name: value.item() for name, value in losses.items()}


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("warmup", [0, 100])
def test_the_same_losses_with_and_without_objects_and_a_gradient_for_every_weight(variant, warmup):
    method = sim(variant=variant, sim__warmup=warmup)
    for seed, scene in enumerate([batch(0), empty(batch(0)), batch(1), batch(2)]):
        method.zero_grad()
        found = step(method, scene, seed)
        assert found.keys() == LOSSES
        assert all(torch.isfinite(torch.tensor(value)) for value in found.values())
        for name, weight in method.named_parameters():
            assert (weight.grad is None) == name.startswith("momentum.") != weight.requires_grad, name
        assert not method.idle
        method.on_step_end(seed)
    assert (found["loss_pseudo"] > 0) == (warmup == 0)


def test_during_the_warm_up_it_is_boxinst():
    method = sim(sim__warmup=5)
    torch.manual_seed(0)
    plain = build_method(sim_recipe(method="boxinst", sim=None), 3).train()
    expected, found = plain.losses(batch(), generator()), method.losses(batch(), generator())
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    assert found["loss_pseudo"] == found["loss_paste"] == 0


def test_labels_lie_in_the_boxes_of_the_projection_loss():
    """Also by the official code's rule, by which a thin box has no cell (erratum c5)."""
    scene = batch()
    scene.targets[0].boxes[0] = torch.tensor([12.2, 10, 12.8, 40])
    boxes = torch.cat([target.boxes for target in scene.targets])
    for details in ("own", "official"):
        method = sim(variant="released", model__details=details)
        view = method.view(scene)
        size = view.features.shape[-2:]
        expected = grid_rectangles(boxes, method.layout.out_stride, *size, details == "official")
        assert torch.equal(view.rectangles, expected)
        assert bool(view.inside()[0].any()) == (details == "own")
        assert all(torch.isfinite(torch.tensor(value)) for value in step(method, scene).values())
        method.on_step_end(0)


def test_low_level_losses_stay_those_of_boxinst_after_the_warm_up():
    method = sim()
    torch.manual_seed(0)
    plain = build_method(sim_recipe(method="boxinst", sim=None), 3).train()
    expected, found = plain.losses(batch(), generator()), method.losses(batch(), generator())
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


def test_the_momentum_network_starts_as_a_copy_and_follows_slowly():
    method = sim(sim__ema=0.75)
    names = ("pyramid", "mask_branch", "head")
    student = [p for name in names for p in getattr(method, name).parameters()]
    slow = [p for name in names for p in getattr(method.momentum, name).parameters()]
    assert_follows(method, student, slow, 0.75)
    buffers = [b for name in names for b in getattr(method, name).buffers()]
    copied = [b for name in names for b in getattr(method.momentum, name).buffers()]
    assert all(torch.equal(a, b) for a, b in zip(buffers, copied, strict=True))
    assert not any(module.training for module in method.train().momentum.modules())


def test_the_released_momentum_network_starts_on_its_own_and_reads_the_students_features():
    method = sim(variant="released")
    own, student = method.momentum.head.controller.weight, method.head.controller.weight
    assert not torch.equal(own, student)
    scene = batch()
    view = method.view(scene)
    with torch.no_grad():
        for p in method.momentum.pyramid.parameters():
            p.mul_(1.5)
    other = method.view(scene)
    assert torch.equal(view.parameters, other.parameters), "its detector reads the student's features"
    assert not torch.equal(view.raw, other.raw), "its mask branch reads its own"


def test_instance_maps_are_weighted_means_of_each_objects_positive_masks():
    """Eq. 6 positive by positive."""
    method = sim(sim__mu=3.0).eval()
    view = method.view(batch(3))
    found = method.maps(view).instance
    expected, total = torch.zeros_like(found), torch.zeros(len(found))
    for m in range(len(view.image)):
        logits = dynamic_masks(
            view.raw, view.image[m : m + 1], view.parameters[m : m + 1], view.points[m : m + 1],
            view.radii[m : m + 1], view.layout, view.hidden,
        )[0]  # fmt: skip
        weight = torch.exp(3.0 * view.ious[m])
        expected[view.objects[m]] += weight * logits.sigmoid()
        total[view.objects[m]] += weight
    torch.testing.assert_close(found[view.covered], (expected / total[:, None, None])[view.covered])
    assert (total > 0).equal(view.covered)


def test_quality_of_a_positive_is_the_iou_of_its_box_with_its_objects():
    g = torch.Generator().manual_seed(1)
    first, second = torch.rand(50, 4, generator=g) * 9, torch.rand(50, 4, generator=g) * 9
    point = torch.rand(50, 2, generator=g) * 40
    boxes = [torch.cat([point - d[:, :2], point + d[:, 2:]], 1) for d in (first, second)]
    torch.testing.assert_close(ltrb_iou(first, second), box_iou(*boxes).diagonal())
    assert torch.equal(ltrb_iou(first * 0, second), torch.zeros(50))


def test_view_features_are_unit_vectors_at_the_logits_resolution():
    method = sim()
    view = method.view(batch())
    torch.testing.assert_close(view.features.norm(dim=1), torch.ones(2, 32, 32))


def test_pseudo_loss_is_eq_8_written_out():
    method = sim(sim__lambda_paste=0.0)
    scene = batch(5)
    with torch.no_grad():  # prototypes that know every class
        method.prototypes.updates.fill_(1)
    frozen = copy.deepcopy(method)
    found = step(method, scene)["loss_pseudo"]
    method = frozen
    view = method.view(scene)
    maps = method.maps(view)
    captured = {}
    inner = method.mask_losses
    method.mask_losses = lambda b, masks, features=None: captured.update(masks=masks) or inner(b, masks)
    method.losses(scene, generator())
    masks = captured["masks"]
    losses = []
    for z, number in zip(masks.logits.detach(), masks.object, strict=True):
        k = int(number)
        x0, y0, x1, y1 = view.rectangles[k].tolist()
        inside = torch.zeros_like(z, dtype=torch.bool)
        inside[y0:y1, x0:x1] = True
        value = maps.corrected[k]
        wanted = (value >= 0.5) & inside
        cells = torch.ones_like(inside)  # both thresholds at 0.5: every cell has a label
        p = z.sigmoid()
        bce = -(wanted * p.log() + ~wanted * (1 - p).log())[cells].mean()
        dice = 1 - 2 * (p * wanted).sum() / ((p * p).sum() + wanted.sum() + 1e-5)
        losses.append(bce + dice)
    expected = 0.5 * torch.stack(losses).mean()
    assert found == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize(
    "variant, centre, by", [("paper", "mean", "student"), ("released", "sum", "momentum")]
)
def test_a_variant_says_how_prototypes_move_where_the_recipe_does_not(variant, centre, by):
    method = sim(variant=variant)
    assert (method.spec.centre, method.spec.assigned_by) == (centre, by)
    assert (method.recipe.sim.centre, method.recipe.sim.assigned_by) == (None, None), "left out of the id"
    chosen = sim(variant=variant, sim__centre="mean", sim__assigned_by="student").spec
    assert (chosen.centre, chosen.assigned_by) == ("mean", "student")


@pytest.mark.parametrize("by", ["student", "momentum"])
def test_pixels_are_assigned_by_the_features_that_are_asked_for(by):
    """The momentum network of `released` has weights of its own, and so other features in the same cells."""
    method = sim(variant="released", sim__assigned_by=by)
    seen = []
    method.prototypes.update = lambda pixels, *others: seen.extend((pixels, others[-1]))
    view, scene = method.view(batch()), batch()
    method.maps = lambda view: everywhere(method, view)
    step(method, scene)
    method.on_step_end(0)
    pixels, scored = seen
    assert len(pixels) > 100 and torch.equal(pixels, scored) == (by == "student")
    cells = view.features.permute(0, 2, 3, 1).flatten(0, 2)
    near = (scored @ cells.T).amax(1)
    assert (near > 1 - 1e-5).all() == (by == "momentum"), "they are the momentum network's"


def everywhere(method, view):
    """Maps that are sure of every cell."""
    maps = type(method).maps(method, view)
    return replace(maps, instance=torch.ones_like(maps.instance))


def test_regions_apart_add_a_mean_inside_where_there_is_w_outside():
    """Where W is 0 outside there is nothing to take apart; else small boxes weigh more."""
    for keys, more in (({}, True), ({"sim__outside": "ignored"}, False)):
        joint, apart = (
            step(sim(sim__lambda_paste=0.0, sim__regions=how, **keys), batch(5))["loss_pseudo"]
            for how in ("joint", "apart")
        )
        assert apart > joint > 0 if more else apart == pytest.approx(joint)


def test_the_control_learns_nothing_from_inside_the_box():
    method = sim(sim__labels=False, sim__lambda_paste=0.0)
    view = method.view(batch())
    whole = batch()
    whole.targets = [Targets(torch.tensor([[0.0, 0, 64, 64]]), torch.tensor([1])) for _ in whole.targets]
    assert step(method, batch())["loss_pseudo"] > 0
    assert step(method, whole)["loss_pseudo"] == 0, "a box that fills the image leaves no outside"
    assert len(view.owner) == 6


def test_pasting_begins_when_the_bank_is_full_and_pasted_objects_have_their_own_loss():
    method = sim(sim__bank=4, sim__paste_probability=1.0)
    pasted = []
    for seed in range(6):
        full = method.bank.full
        loss = step(method, batch(seed), seed)["loss_paste"]
        pasted.append((full, loss))
        method.on_step_end(seed)
    assert all(loss == 0 for full, loss in pasted if not full)
    assert any(full for full, _ in pasted) and all(loss > 0 for full, loss in pasted if full)


def test_rows_with_and_without_pasting_keep_the_same_positives_until_something_is_pasted():
    a, b = sim(), sim(sim__lambda_paste=0.0)
    first, second = step(a, batch()), step(b, batch())
    assert first == second


def test_a_box_that_no_location_detects_and_a_tiny_one_are_handled():
    """Objects without a positive: no pseudo label, no pixel for prototypes, nothing to paste."""
    method = sim()
    scene = batch()
    boxes = torch.tensor([[0.0, 0, 64, 64], [10.0, 10, 10.4, 10.4], [3.0, 3, 3.2, 60]])
    scene = Batch(
        scene.images, scene.valid, scene.scales, [Targets(boxes, torch.tensor([0, 1, 2]))] * 2, [0, 1]
    )
    view = method.view(scene)
    assert not view.covered.all()
    found = step(method, scene)
    assert all(torch.isfinite(torch.tensor(value)) for value in found.values())


def test_prototypes_move_once_a_step_however_the_batch_is_split():
    whole, split = sim(sim__bank=50).eval(), sim(sim__bank=50).eval()  # no batch statistics
    scene = batch(1, images=4)
    whole.losses(scene, torch.Generator().manual_seed(1))
    for part in (slice(0, 2), slice(2, 4)):
        shard = Batch(
            scene.images[part], scene.valid[part], scene.scales[part], scene.targets[part], scene.ids[part]
        )
        split.losses(shard, torch.Generator().manual_seed(1))
    assert not split.prototypes.updates.any(), "not before the step's end"
    whole.on_step_end(0), split.on_step_end(0)
    assert whole.prototypes.updates.max() == split.prototypes.updates.max() == 1
    torch.testing.assert_close(whole.prototypes.vectors, split.prototypes.vectors, atol=1e-4, rtol=1e-4)


def test_padding_has_no_label():
    """The same image with more padding beside it has the same loss."""
    scene = batch(2, images=1)
    wide = Batch(
        torch.nn.functional.pad(scene.images, (0, 32), value=0),
        torch.nn.functional.pad(scene.valid, (0, 32), value=False),
        scene.scales, scene.targets, scene.ids,
    )  # fmt: skip
    method = sim(sim__lambda_paste=0.0)
    labelled = []
    inner = method._pseudo_losses
    method._pseudo_losses = lambda masks, view, labels, *rest: (
        labelled.append(labels.weight.sum((1, 2))) or inner(masks, view, labels, *rest)
    )
    for b in (scene, wide):
        method.losses(b, generator())
    assert torch.equal(*labelled)
    assert labelled[0].max() == 32 * 32, "both thresholds at 0.5: every cell of the image has a label"


def test_prediction_is_the_students():
    method = sim().eval()
    sample = Sample(batch().images[0], (64, 64), 1)
    before = method.predict([sample])[0]
    with torch.no_grad():
        for p in method.momentum.parameters():
            p.zero_()
    after = method.predict([sample])[0]
    assert torch.equal(before.scores, after.scores)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sim__alpha", 1.2, "alpha"),
        ("sim__alpha", -0.1, "alpha"),
        ("sim__mu", -1.0, "mu"),
        ("sim__temperature", 0.0, "temperature"),
        ("sim__prototypes", 0, "prototypes"),
        ("sim__tau_low", 0.8, "tau_low 0.8 is above tau_high 0.5"),
        ("sim__bank", 0, "bank"),
        ("sim__outside", "nothing", "outside"),
        ("data__supervision", "masks", "learns from boxes"),
    ],
)
def test_impossible_values_are_refused(key, value, message):
    with pytest.raises(ValidationError, match=message):
        sim_recipe(**{key: value})


def test_a_recipe_without_its_section_is_refused():
    with pytest.raises(ValidationError, match="needs the section 'sim'"):
        sim_recipe(sim=None)


def test_each_switch_of_the_released_code_is_a_key_of_its_own():
    """S1 to S17: `variant` fills what nobody decided, and a decided value wins."""
    paper, released = sim_recipe(sim__tau_low=None), sim_recipe(variant="released", sim__tau_low=None)
    differ = {key for key, value in paper.sim.model_dump().items() if value != getattr(released.sim, key)}
    assert differ >= {
        "mu", "prototype_norm", "assign", "pixels", "mask_loss", "average", "lambda_pseudo", "lambda_ramp",
        "tau_low", "adaptive", "outside", "affinity", "momentum", "aliases", "share", "replacement", "power",
        "paste_mask", "paste_average", "paste_boxes", "composites",
    }  # fmt: skip
    assert sim_recipe(variant="released", sim__mu=2.0).sim.mu == 2.0


# On a frozen detector


@pytest.mark.parametrize("touched", [[], [1], [0, 2], [0, 1, 2]], ids=str)
def test_only_images_that_were_pasted_onto_are_looked_at_again(touched):
    """What is seen of a composite is what the detector sees of the whole batch after pasting."""
    method = sim(model__trained="masks", init={"parent": "base"})
    original, other = batch(0, images=3), batch(1, images=3)
    images = original.images.clone()
    images[touched, :, 10:40, 20:50] = other.images[touched, :, 10:40, 20:50]
    after = replace(original, images=images)
    flags = torch.tensor([image in touched for image in range(3)])
    looked = []
    detect = method.detect
    method.detect = lambda pixels, sizes: looked.append(len(pixels)) or detect(pixels, sizes)
    found = method._composite_scene(original, Composite(after if touched else original, [], [], flags))
    expected, before = detect(images), detect(original.images)
    seen = [3, len(touched)] if touched else [3]
    assert looked == seen
    for part in ("pyramid", "outputs"):
        ours, theirs, old = (getattr(scene, part) for scene in (found, expected, before))
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-5)
            assert torch.equal(ours[name][~flags], old[name][~flags]), "the others are as they were"
    for name in ("points", "levels", "around"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    again = method.scene(original)  # the note on the batch is that of its own images
    assert looked == seen
    assert all(torch.equal(again.outputs[name], value) for name, value in before.outputs.items())
