"""Quality of SIM's pseudo masks at its warm-up, for many settings at once and without training any.

The network is the warm-up's, student and momentum network alike. Prototypes are estimated from some training
batches; then M_S (Eq. 1), M_I (Eq. 6), M_prob (Eq. 7) and the pseudo labels of every setting are compared
with ground-truth masks of other images, inside the box (`pseudo_quality`). The network runs once an
image; maps that several settings share are computed and scored once.

`measure_rows` does that for the rows that continue a trained warm-up, on evaluation images; `measure` is the
measurement alone.

Shapes: B images, G objects, H x W mask grid, D channels of mask features, P cells.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from copy import copy
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from wsis.data.loading import MAX_IMAGES, MAX_PIXELS, Shard, collate, eval_view, train_batches
from wsis.data.structures import Batch
from wsis.data.transforms import padded
from wsis.declare.recipe import Recipe
from wsis.declare.stored import weights_file
from wsis.losses.projection import grid_masks
from wsis.measures.measure import Measured, Subject
from wsis.methods import build_method
from wsis.methods.sim.declared import section
from wsis.methods.sim.prototypes import Prototypes
from wsis.methods.sim.pseudo import CONFIDENT, correct, label
from wsis.methods.sim.pseudo_quality import SUBSETS, Cells, LabelScores, MapScores, overlapping
from wsis.methods.sim.spec import SimSpec
from wsis.methods.weights import init_from_parent
from wsis.pictures.subject import pictures_with_masks

if TYPE_CHECKING:
    from wsis.data.roots import Root
    from wsis.methods.sim.method import SIM
    from wsis.methods.sim.view import ObjectView

# What each map depends on, beside the network; the labels' keys are those that matter inside the box.
PROTOTYPES = (
    "prototypes", "mu", "prototype_norm", "assign", "centre", "prototype_momentum",
    "sinkhorn_eps", "sinkhorn_iterations", "pixel_cap",
)  # fmt: skip
INSTANCE = ("mu",)
SEMANTIC = (*PROTOTYPES, "temperature")
PSEUDO = (*SEMANTIC, "alpha")
LABELS = (*PSEUDO, "tau_low", "tau_high", "adaptive", "labels")
MAPS = {"semantic": SEMANTIC, "instance": INSTANCE, "pseudo": PSEUDO}
BATCHES = 25  # training batches that the prototypes are estimated from

Key = tuple[Hashable, ...]


def measure_rows(subject: Subject, batches: int = BATCHES) -> Measured:
    """The measures of every run that continues the subject's one, by run id.

    batches: of training images, for the prototypes; reports show what BATCHES of them give.
    """
    recipes = {run: asked.recipe.settled() for run, asked in subject.cases.items()}
    recipe, root, device = next(iter(recipes.values())), subject.root, subject.device
    parts = recipe.schedule.devices if recipe.schedule.batch % recipe.schedule.devices == 0 else 1
    stream = train_batches(recipe, root, Shard(recipe.init.iteration, micro=parts))
    details = measure(
        warm_method(recipe, root.num_classes, weights_file(subject.folder)).to(device),
        {run: section(each) for run, each in recipes.items()},
        ([part.to(device) for part in step] for step in islice(stream, batches)),
        (batch.to(device) for batch in evaluation_batches(recipe, root)),
        recipe.seed,
    )
    return Measured({run: _values(maps) for run, maps in details.pop("runs").items()}, details)


def _values(maps: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    """{map: {subset: scores}} by the measures' names."""
    return {
        f"{name}_{kind}" + ("_overlap" if subset == "overlap" else ""): value
        for name, subsets in maps.items()
        for subset, scores in subsets.items()
        for kind, value in scores.items()
        if kind != "objects"
    }


def warm_method(recipe: Recipe, num_classes: int, weights: Path) -> SIM:
    """SIM with a warm-up's weights in both its networks, whatever the row's momentum network does later."""
    spec = recipe.sim.model_copy(update={"momentum": "copy"})
    method = build_method(recipe.model_copy(update={"sim": spec}), num_classes).eval()
    init_from_parent(method, weights)
    method.momentum.follow(method, 0.0)
    return method


def evaluation_batches(recipe: Recipe, root: Root) -> Iterator[Batch]:
    """The evaluation images that have objects, with boxes and masks, as large as in inference.

    Crowd regions are left out, and objects that are under a pixel at that size.
    """
    views, placements, numbers = [], [], []
    tall = wide = 0
    for picture in pictures_with_masks(recipe, root):
        view, placed = eval_view(recipe.data, picture)
        height, width = (padded(side) for side in view.image.shape[:2])
        tall, wide = max(tall, height), max(wide, width)
        if views and (len(views) == MAX_IMAGES or (len(views) + 1) * tall * wide > MAX_PIXELS):
            yield collate(views, placements, numbers)
            views, placements, numbers = [], [], []
            tall, wide = height, width
        views.append(view)
        placements.append(placed)
        numbers.append(picture.id)
    if views:
        yield collate(views, placements, numbers)


def key(spec: SimSpec, names: tuple[str, ...]) -> Key:
    """The values of `names` in a setting: settings with equal keys share what depends on nothing else."""
    return tuple(getattr(spec, name) for name in names)


def measure(
    method: SIM,
    specs: Mapping[str, SimSpec],
    training: Iterable[list[Batch]],
    evaluation: Iterable[Batch],
    seed: int,
) -> dict[str, Any]:
    """Scores of every setting's maps.

    Args:
        method: with the weights at hand as its momentum network
        specs: settled settings by run id
        training: the batches of one step each, which move the prototypes
        evaluation: images with ground-truth masks
        seed: of the prototypes' start and of random choices among cells

    Returns:
        images, objects, overlapping (objects), uncovered (objects without a positive location): numbers
        batches: steps that moved prototypes;  stride: of the mask grid, pixels
        runs: {id: {map: {subset: scores}}}; map: "semantic", "instance" or "pseudo"; subset: "all" or
            "overlap"; scores: those of `MapScores`, and for "pseudo" of `LabelScores` too

    Objects without a positive location are left out of what depends on M_I, those of a class without
    prototypes out of "semantic".
    """
    prototypes, batches = estimate(method, specs.values(), training, seed)
    scores = _Scores(specs.values(), prototypes)
    for batch in evaluation:
        scores.add(batch, method.view(batch), method.layout.out_stride)
    counts = {"images": scores.images, "objects": scores.objects, "overlapping": scores.overlapping}
    return {
        **counts,
        "uncovered": scores.uncovered,
        "batches": batches,
        "stride": method.layout.out_stride,
        "runs": {run: scores.result(spec) for run, spec in specs.items()},
    }


def estimate(
    method: SIM, specs: Iterable[SimSpec], training: Iterable[list[Batch]], seed: int
) -> tuple[dict[Key, Prototypes], int]:
    """Prototypes of every distinct `PROTOTYPES` key after all steps, and the number of steps.

    A step moves them once (Eqs. 2 to 5), by each cell with M_I > 0.7 in the box of a class's objects. The
    settings' choice of cells (`pixels`) is ignored: before prototypes there are no pseudo labels.
    The seed alone decides start and draws, so a setting's result does not depend on the other settings.
    """
    device = next(method.parameters()).device
    prototypes, generators = {}, {}
    for spec in specs:
        name = key(spec, PROTOTYPES)
        if name not in prototypes:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                prototypes[name] = Prototypes(method.num_classes, method.feature_channels, spec).to(device)
            generators[name] = torch.Generator().manual_seed(seed)
    mus = sorted({each.spec.mu for each in prototypes.values()})
    steps = 0
    for parts in training:
        chosen: dict[float, list[tuple[Tensor, Tensor]]] = {mu: [] for mu in mus}
        for part in parts:
            view = method.view(part)
            for mu, instance in zip(mus, view.instances(mus), strict=True):
                chosen[mu].append(confident(view, instance))
        cells = {mu: tuple(map(torch.cat, zip(*pairs, strict=True))) for mu, pairs in chosen.items()}
        for name, each in prototypes.items():
            each.update(*cells[each.spec.mu], generators[name])
        steps += 1
    return prototypes, steps


def confident(view: ObjectView, instance: Tensor) -> tuple[Tensor, Tensor]:
    """Features P x D and classes P of the cells with M_I > 0.7 in a box, each once a class.

    instance: G x H x W, M_I.
    """
    image, classes, y, x = view.cells((instance > CONFIDENT) & view.inside() & view.covered[:, None, None])
    return view.features[image, :, y, x], classes


class _Scores:
    """The accumulators of all distinct maps and labels."""

    def __init__(self, specs: Iterable[SimSpec], prototypes: Mapping[Key, Prototypes]) -> None:
        specs = list(specs)
        self.settings = {kind: {key(s, names): s for s in specs} for kind, names in MAPS.items()}
        self.maps = {kind: {name: MapScores() for name in keys} for kind, keys in self.settings.items()}
        self.labelled = {key(spec, LABELS): spec for spec in specs}
        self.labels = {name: LabelScores() for name in self.labelled}
        self.prototypes = {}
        for name, spec in self.settings["semantic"].items():  # shared vectors, each setting's temperature
            self.prototypes[name] = copy(prototypes[key(spec, PROTOTYPES)])
            self.prototypes[name].spec = spec
        self.images = self.objects = self.overlapping = self.uncovered = 0

    def add(self, batch: Batch, view: ObjectView, stride: int) -> None:
        """Score every map and label of one batch."""
        self.images += len(batch.targets)
        if len(view.labels) == 0:
            return
        box = view.inside()
        cells = _cells(batch, box, stride)
        covered = view.covered.cpu().numpy()
        self.objects += len(covered)
        self.overlapping += int(cells.overlap.sum())
        self.uncovered += int((~covered).sum())

        mus = [spec.mu for spec in self.settings["instance"].values()]
        instances = dict(zip(self.settings["instance"], view.instances(mus), strict=True))
        semantics = {
            name: prototypes.semantic(view.features, view.owner, view.labels)
            for name, prototypes in self.prototypes.items()
        }
        corrected = {
            name: correct(*semantics[key(spec, SEMANTIC)], instances[key(spec, INSTANCE)], spec.alpha)
            for name, spec in self.settings["pseudo"].items()
        }
        # All maps on the same objects: those with a positive, of classes whose prototypes were ever moved.
        known = [of_class.cpu().numpy() for _, of_class in semantics.values()]
        scored = np.logical_and.reduce([covered, *known])
        only = {name: values for name, (values, _) in semantics.items()}
        for kind, maps in (("semantic", only), ("instance", instances), ("pseudo", corrected)):
            for name, values in maps.items():
                self.maps[kind][name].add(values[box].cpu().numpy(), cells, scored)
        for name, spec in self.labelled.items():
            instance = instances[key(spec, INSTANCE)]
            labels = label(corrected[key(spec, PSEUDO)], instance, view.rectangles, view.covered, spec)
            target, weight = (part[box].cpu().numpy() for part in (labels.target, labels.weight))
            self.labels[name].add(target, weight, cells, covered)

    def result(self, spec: SimSpec) -> dict[str, Any]:
        """The scores of one setting."""
        scores = {kind: self.maps[kind][key(spec, names)].result() for kind, names in MAPS.items()}
        labels = self.labels[key(spec, LABELS)].result()
        scores["pseudo"] = {subset: scores["pseudo"][subset] | labels[subset] for subset in SUBSETS}
        return scores


def _cells(batch: Batch, box: Tensor, stride: int) -> Cells:
    """Ground truth of the cells in every object's box; G x H x W bool."""
    truth = torch.cat([grid_masks(t.masks, stride) for t in batch.targets])
    overlap = [overlapping(t.boxes.cpu().numpy(), t.labels.cpu().numpy()) for t in batch.targets]
    return Cells(truth[box].cpu().numpy(), box.nonzero()[:, 0].cpu().numpy(), np.concatenate(overlap))
