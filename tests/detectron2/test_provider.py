"""detectron2's Mask R-CNN behind the engine's faces; skipped where detectron2 is not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from tests.methods.official import shaken
from wsis.data.structures import Batch, Sample, Targets
from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import DataSpec
from wsis.declare.specs.model import ModelSpec
from wsis.declare.specs.predict import PredictSpec
from wsis.methods import build_method

pytest.importorskip("detectron2", reason="detectron2 is not installed: make detectron2 SOURCE=path")


@pytest.fixture(autouse=True)
def _there(monkeypatch):
    monkeypatch.setattr("wsis.declare.provider.installed", lambda: True)


def mask_rcnn(**model) -> torch.nn.Module:
    recipe = Recipe(
        method="mask_rcnn",
        data=DataSpec(supervision="masks"),
        model=ModelSpec(head="mask_rcnn", provider="detectron2", weights="none", **model),
        predict=PredictSpec(nms=0.5, score=0.05),
    )
    torch.manual_seed(0)
    return build_method(recipe, 3)


def batch(masked: list[bool] | None) -> Batch:
    """Two images of one object each; masked: whose mask is given, None: no masks at all."""
    noise = torch.randint(
        0, 256, (2, 3, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    targets = []
    for i in range(2):
        mask = torch.zeros(1, 128, 128, dtype=torch.bool)
        mask[0, 20:90, 30:100] = bool(masked and masked[i])
        has = torch.tensor([bool(masked and masked[i])])
        box = torch.tensor([[30.0, 20, 100, 90]])
        targets.append(Targets(box, torch.tensor([i]), None if masked is None else mask, has))
    return Batch(noise, torch.ones(2, 128, 128, dtype=torch.bool), torch.ones(2), targets, [1, 2])


def test_losses_have_our_names_and_depend_on_the_generator_alone():
    method, names = mask_rcnn(), {"loss_rpn_cls", "loss_rpn_box", "loss_cls", "loss_box", "loss_mask"}
    first = method.losses(batch([True, True]), torch.Generator().manual_seed(3))
    torch.rand(7)
    again = method.losses(batch([True, True]), torch.Generator().manual_seed(3))
    assert set(first) == names and all(torch.equal(first[name], again[name]) for name in names)
    sum(first.values()).backward()
    trained = [p for p in method.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained) and first["loss_mask"] > 0


def test_objects_without_a_mask_leave_the_mask_loss_alone():
    method = mask_rcnn()
    loss = lambda masked: method.losses(batch(masked), torch.Generator().manual_seed(3))["loss_mask"]  # noqa: E731
    assert loss(None) == 0 and loss([False, False]) == 0
    one, both = batch([True, False]), loss([True, True])
    one.targets[1].masks[:] = torch.rand(1, 128, 128) > 0.5  # must not be used
    one.targets[1].has_mask[:] = False
    assert method.losses(one, torch.Generator().manual_seed(3))["loss_mask"] == loss([True, False]) != both


def test_predictions_lie_in_the_original_image():
    method = shaken(mask_rcnn())
    method.network.roi_heads.box_predictor.cls_score.weight.data *= 8
    image = torch.randint(0, 256, (3, 128, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    found = method.predict([Sample(image, (64, 48), 1), Sample(image, (128, 96), 2)])
    small, large = found
    assert len(small.boxes) and all(mask["size"] == [64, 48] for mask in small.masks)
    torch.testing.assert_close(small.boxes * 2, large.boxes)
    assert small.labels.max() < 3 and (small.scores.diff() <= 0).all()


def test_first_weights_of_torchvision_give_torchvisions_stages(tmp_path):
    from torchvision.models import resnet50

    net = shaken(resnet50())
    torch.save(net.state_dict(), tmp_path / "resnet50.pth")
    method = build_method(
        mask_rcnn().recipe.model_copy(
            update={
                "model": ModelSpec(
                    head="mask_rcnn", provider="detectron2", weights=str(tmp_path / "resnet50.pth")
                )
            }
        ),
        3,
    ).eval()
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        stem = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        expected = net.layer2(net.layer1(stem))
        found = method.network.backbone.bottom_up(x)["res3"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_nothing_imports_it_before_it_is_asked_for():
    code = "import sys, wsis.plan, wsis.trained.model, wsis.trained.official, wsis.engine.run;"
    code += "wsis.plan.make_plan('paper');"
    code += "from wsis.methods.mask_rcnn import method; sys.exit('detectron2' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
