"""Pseudo-mask quality: with a planted network against plain loops, and the whole command on drawn images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.methods import scenes
from tests.methods.measuring import draw
from wsis.data.structures import Targets
from wsis.engine.checkpoint import save_model
from wsis.losses.projection import grid_masks, grid_rectangles
from wsis.measures.wanted import wanted
from wsis.methods import build_method
from wsis.methods.sim import quality
from wsis.methods.sim.pseudo_quality import Cells, MapScores
from wsis.methods.sim.quality import confident, estimate, key, measure, warm_method
from wsis.methods.sim.spec import SimSpec
from wsis.methods.sim.view import View
from wsis.plan import make_plan

STRIDE = 2


def spec(**over) -> SimSpec:
    return scenes.recipe(method="sim", sim={"prototypes": 2, "pixel_cap": 50, **over}).sim


@dataclass
class PlantedView:
    """A View whose features are the image's colours, and whose M_I knows the masks as well as it is told."""

    features: Tensor
    owner: Tensor
    labels: Tensor
    rectangles: Tensor
    covered: Tensor
    truth: Tensor
    inside, cells = View.inside, View.cells

    def instances(self, mus: list[float]) -> list[Tensor]:
        """Surer with a greater mu; disturbed by the first colour."""
        noise = self.features[self.owner, 0] * 0.7
        return [(0.5 + (self.truth.float() - 0.5) * (0.6 + mu / 30) + noise).clamp(0, 1) for mu in mus]

    def instance(self, mu: float) -> Tensor:
        return self.instances([mu])[0]


class Planted(nn.Module):
    """Stands in for SIM. Objects whose box is under `smallest` pixels wide have no positive."""

    num_classes = 3
    layout = SimpleNamespace(out_stride=STRIDE)
    feature_channels = 3

    def __init__(self, smallest: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.smallest = smallest

    def view(self, batch) -> PlantedView:
        colours = F.avg_pool2d(batch.images.float() / 127.5 - 1, STRIDE)
        boxes = torch.cat([t.boxes for t in batch.targets])
        return PlantedView(
            F.normalize(colours, dim=1),
            torch.tensor([i for i, t in enumerate(batch.targets) for _ in t.labels], dtype=torch.int64),
            torch.cat([t.labels for t in batch.targets]),
            grid_rectangles(boxes, STRIDE, *colours.shape[2:]),
            boxes[:, 2] - boxes[:, 0] >= self.smallest,
            torch.cat([grid_masks(t.masks, STRIDE) for t in batch.targets]),
        )


def images(*seeds):
    return [scenes.batch(seed, images=2, objects=4, masks="all") for seed in seeds]


def joined(*batches):
    """One batch of all their images."""
    first = batches[0]
    stacked = {name: torch.cat([getattr(b, name) for b in batches]) for name in ("images", "valid", "scales")}
    return replace(first, **stacked, targets=[t for b in batches for t in b.targets], ids=[])


def flat(content, path=()):
    """Every number by its place, for comparisons that forgive the last digit."""
    if not isinstance(content, dict):
        return {path: content}
    return {k: v for name, value in content.items() for k, v in flat(value, (*path, name)).items()}


SETTINGS = {
    "base": spec(),
    "same": spec(lambda_pseudo=0.1),
    "mu": spec(mu=0.0),
    "tau": spec(temperature=0.1),
    "alpha": spec(alpha=0.2),
    "thresholds": spec(tau_low=0.45, tau_high=0.55),
    "many": spec(prototypes=5),
    "control": spec(labels=False),
    "adaptive": spec(adaptive=True, tau_high=0.8),
}


@pytest.fixture(scope="module")
def found():
    return measure(Planted(), SETTINGS, ([b] for b in images(1, 2, 3)), images(7, 8), seed=5)


def test_settings_do_not_depend_on_their_company(found):
    for name, setting in SETTINGS.items():
        alone = measure(Planted(), {name: setting}, ([b] for b in images(1, 2, 3)), images(7, 8), seed=5)
        assert alone["runs"][name] == found["runs"][name]


def test_settings_differ_where_they_should(found):
    runs = found["runs"]
    assert runs["same"] == runs["base"]
    assert runs["mu"]["instance"] != runs["base"]["instance"]
    assert runs["tau"]["semantic"]["all"]["AUC"] == pytest.approx(
        runs["base"]["semantic"]["all"]["AUC"], abs=0.1
    )
    assert runs["tau"]["pseudo"] != runs["base"]["pseudo"]
    assert runs["alpha"]["instance"] == runs["base"]["instance"]
    assert runs["many"]["semantic"] != runs["base"]["semantic"]
    cover = {name: runs[name]["pseudo"]["all"]["cover"] for name in runs}
    assert cover["thresholds"] > cover["base"] > cover["control"] == 0
    assert runs["control"]["pseudo"]["all"]["acc"] is None
    assert (found["batches"], found["images"], found["objects"], found["stride"]) == (3, 4, 16, STRIDE)


def test_grouping_of_images_does_not_matter(found):
    """Neither that of evaluation images, nor the split of a training step."""
    whole = measure(Planted(), SETTINGS, ([b] for b in images(1, 2, 3)), [joined(*images(7, 8))], seed=5)
    assert flat(whole) == pytest.approx(flat(found))
    _, parts = estimate(Planted(), [spec()], [images(1, 2)], seed=0)
    together, _ = estimate(Planted(), [spec()], [[joined(*images(1, 2))]], seed=0)
    apart, _ = estimate(Planted(), [spec()], [images(1, 2)], seed=0)
    name = key(spec(), quality.PROTOTYPES)
    assert parts == 1
    assert torch.equal(together[name].vectors, apart[name].vectors)


def test_scores_are_those_of_maps_made_one_by_one(found):
    """Every object by itself, with its own cut-out of maps that the prototypes and equations give."""
    prototypes, _ = estimate(Planted(), SETTINGS.values(), ([b] for b in images(1, 2, 3)), seed=5)
    for name in ("base", "alpha", "mu"):
        setting = SETTINGS[name]
        vectors = prototypes[key(setting, quality.PROTOTYPES)].vectors
        expected, right, labelled, cells = MapScores(), 0, 0, 0
        for batch in images(7, 8):
            view = Planted().view(batch)
            instances = view.instance(setting.mu)
            for g, (x0, y0, x1, y1) in enumerate(view.rectangles.tolist()):
                cosine = torch.einsum("dyx,ld->lyx", view.features[view.owner[g]], vectors[view.labels[g]])
                semantic = torch.sigmoid(cosine.amax(0) / setting.temperature)
                mixed = (1 - setting.alpha) * semantic + setting.alpha * instances[g]
                values, truth = (m[y0:y1, x0:x1].flatten().numpy() for m in (mixed, view.truth[g]))
                owner = np.zeros(len(values), int)
                expected.add(values, Cells(truth, owner, np.array([False])))
                high, low = values >= setting.tau_high, values <= setting.tau_low
                labelled, cells = labelled + (high | low).sum(), cells + len(values)
                right += (high & truth).sum() + (low & ~truth).sum()
        scored = found["runs"][name]["pseudo"]["all"]
        for measured, value in expected.result()["all"].items():
            assert scored[measured] == pytest.approx(value, abs=0.01)
        assert scored["cover"] == pytest.approx(100 * labelled / cells)
        assert scored["acc"] == pytest.approx(100 * right / labelled)


def test_objects_without_a_positive_are_left_out_and_counted():
    sizes = torch.cat([t.boxes[:, 2] - t.boxes[:, 0] for b in images(7, 8) for t in b.targets])
    limit = float(sizes.median()) + 0.01
    found = measure(Planted(limit), {"run": spec()}, [[b] for b in images(1)], images(7, 8), seed=0)
    covered = int((sizes >= limit).sum())
    assert 0 < covered < 16
    assert (found["objects"], found["uncovered"]) == (16, 16 - covered)
    run = found["runs"]["run"]
    assert {run[name]["all"]["objects"] for name in ("semantic", "instance", "pseudo")} == {covered}


def test_classes_without_prototypes_are_scored_in_no_map():
    """All maps are compared on the same objects, or a difference would be one of objects."""
    found = measure(Planted(), {"run": spec()}, [], images(7), seed=0)
    run = found["runs"]["run"]
    assert found["batches"] == 0 and found["objects"] > 0
    assert {run[name]["all"]["objects"] for name in ("semantic", "instance", "pseudo")} == {0}


def test_images_without_objects_are_only_counted(found):
    bare = images(9)[0]
    bare = replace(bare, targets=[Targets(t.boxes[:0], t.labels[:0], t.masks[:0]) for t in bare.targets])
    step = [*images(1, 2, 3), bare]
    again = measure(Planted(), SETTINGS, ([b] for b in step), [*images(7, 8), bare], seed=5)
    assert again == found | {"images": 6, "batches": 4}


def test_confident_cells_by_a_loop():
    """Each once a class, in a box, of objects that have a positive."""
    view = Planted(14.0).view(images(4)[0])
    assert view.covered.any() and not view.covered.all()
    instance = torch.rand(view.truth.shape, generator=torch.Generator().manual_seed(0))
    expected = set()
    for g, (x0, y0, x1, y1) in enumerate(view.rectangles.tolist()):
        for y in range(y0, y1):
            for x in range(x0, x1):
                if view.covered[g] and instance[g, y, x] > 0.7:
                    expected.add((int(view.owner[g]), int(view.labels[g]), y, x))
    pixels, labels = confident(view, instance)
    wanted = sorted((c, *view.features[b, :, y, x].tolist()) for b, c, y, x in expected)
    assert sorted((c, *p) for c, p in zip(labels.tolist(), pixels.tolist(), strict=True)) == wanted


def test_a_warm_up_fills_both_networks_whatever_the_row(tmp_path):
    parent = build_method(scenes.recipe(), 3)
    with torch.no_grad():
        for parameter in parent.parameters():
            parameter.normal_()
    save_model(tmp_path, "boxinst-0", 3, parent)
    for momentum in ("copy", "released"):
        recipe = scenes.recipe(method="sim", sim={"momentum": momentum})
        method = warm_method(recipe, 3, tmp_path / "model.safetensors")
        assert not method.training
        state, own = parent.state_dict(), method.state_dict()
        for part in ("pyramid", "mask_branch", "head"):
            for name in (name for name in state if name.startswith(f"{part}.")):
                assert torch.equal(own[name], state[name]) and torch.equal(
                    own[f"momentum.{name}"], state[name]
                )


def test_the_maps_are_those_of_the_method(tmp_path, monkeypatch):
    """SIM's own maps with the estimated prototypes get the same scores."""
    monkeypatch.setattr(quality, "CONFIDENT", 0.0)  # nothing is sure in an untrained net
    torch.manual_seed(0)
    recipe = scenes.recipe(method="sim", sim={"prototypes": 2})
    method = build_method(recipe, 3).eval()
    training, evaluation = [[scenes.batch(1)]], [scenes.batch(2, masks="all", objects=4)]
    found = measure(method, {"run": recipe.sim}, training, evaluation, seed=0)
    prototypes, _ = estimate(method, [recipe.sim], training, seed=0)
    method.prototypes.load_state_dict(prototypes[key(recipe.sim, quality.PROTOTYPES)].state_dict())
    view = method.view(evaluation[0])
    maps = method.maps(view)
    assert maps.known.any()
    cells = quality._cells(evaluation[0], view.inside(), method.layout.out_stride)
    for name, values in (("instance", maps.instance), ("pseudo", maps.corrected)):
        scores = MapScores()
        scores.add(values[view.inside()].numpy(), cells, (view.covered & maps.known).numpy())
        for subset, expected in scores.result().items():
            assert found["runs"]["run"][name][subset] | expected == found["runs"]["run"][name][subset]


def test_the_command_measures_every_row_of_a_warm_up(tmp_path, monkeypatch):
    """An untrained warm-up that looks finished; two batches are enough to move prototypes."""
    plan = make_plan("smoke")
    id, cases = max(wanted(plan, plan.tables)["pseudo"].items(), key=lambda item: len(item[1]))
    assert len(cases) > 10
    assert all(asked.recipe.init.parent == id and asked.recipe.init.iteration for asked in cases.values())
    smoke = draw(id, tmp_path)
    smoke.finish(id, weights=True)
    monkeypatch.setattr(quality.measure_rows, "__defaults__", (2,))
    content = smoke.measure("pseudo", id)
    assert {*content["values"]} == {*cases} and content["details"]["batches"] == 2
    annotated = [p for p in smoke.root.eval if any(not i.crowd for i in p.instances)]
    assert content["details"]["images"] == len(annotated)
    assert content["details"]["objects"] == sum(not i.crowd for p in annotated for i in p.instances)
    assert smoke.measure("pseudo", id) == content
