"""Operations and parameters of BAISeg's networks, counted on the built modules (Tables 4 to 6).

The paper's "GFLOPs" are multiply-adds as the profiler thop counts them, its "Memory(M)" are parameters in
millions: the one reading that explains all cost cells of Tables 4 and 5 but one. They are cut off and not
rounded (errata gflops-r3, attention-details). A convolution or linear layer costs its multiply-adds (biases
are free), batch norm four an element, average pooling to one cell one an input element, the rest nothing.

Modules are built without weights and run on PyTorch's meta device: nothing is computed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn

from wsis.declare.recipe import Recipe
from wsis.declare.specs.model import ModelSpec
from wsis.errors import WsisError
from wsis.measures.measure import Measured, Subject
from wsis.methods.baiseg.cascade import BoundaryModule
from wsis.methods.baiseg.dense import DenseFeatures, build_dense
from wsis.methods.baiseg.semantic_head import Projection, SemanticHead

SIDE = 416  # pixels of the image (Sec. 4.2), and cells of Tables 4 and 5's feature map
CHANNELS = 48  # of that feature map: HRNet-W48's
CLASSES = {"voc": 20, "coco": 80}
NORM = 4  # operations of batch norm, an element
# Every row of Table 6 holds 15.63 to 15.71 GFLOPs more than the parts that the text names. With this one
# constant all seven come out as printed, cut off: about 0.09 M multiply-adds for each pixel of the image.
UNEXPLAINED = 15.72

Kind = Literal["module", "network"]


def measure_recipe(subject: Subject) -> Measured:
    """The costs of the paper's recipe, by kind of table."""
    recipe = next(iter(subject.cases.values())).published
    costs = {kind: complexity(recipe, kind) for kind in subject.cases}
    shown = ("GFLOPs", "params", "GFLOPs_stride4", "params_module")
    return Measured({kind: {name: cost[name] for name in shown} for kind, cost in costs.items()}, costs)


def complexity(recipe: Recipe, kind: Kind) -> dict[str, float]:
    """What a published BAISeg recipe's network costs, as the tables of this kind print it and as it runs.

    kind "module" (Tables 4 and 5) prints the boundary module alone, on a feature map of 416x416 cells with 48
    channels; kind "network" (Table 6) all of it on an image of 416x416 pixels.

    GFLOPs, params: by the paper's counting, comparable with its columns; params in millions. As the printed
        cells require, "module" counts the operations of the contrast's projection and not of the last 1x1
        convolution, but the parameters of this one and not of the projection; "network" counts the
        projection's parameters, not its operations.
    GFLOPs_unexplained: what the printed GFLOPs hold beyond: 0, or for kind "network" a constant
    GFLOPs_stride4: of the boundary module where it runs, on the backbone's features of such an image
    params_module: of the boundary module, with its last convolution
    GFLOPs_inference: of the whole network on such an image: backbone, boundary module, semantic head
    params_total: of these and the projection, which only training needs

    Raises WsisError for a recipe of another method, or of a data set whose classes aren't known.
    """
    if recipe.baiseg is None:
        raise WsisError(f"complexity: counted for BAISeg's recipes, not for method '{recipe.method}'")
    if recipe.data.dataset not in CLASSES:
        known = " and ".join(CLASSES)
        raise WsisError(f"complexity: counted for published recipes ({known}), not '{recipe.data.dataset}'")
    spec = recipe.baiseg
    dense, of_dense = _backbone(recipe.model, spec.multi_scale, spec.stage_dim)
    with torch.device("meta"):
        features = torch.zeros(1, dense.channels, SIDE // dense.stride, SIDE // dense.stride)
        module = BoundaryModule(dense.channels, spec)
        head = SemanticHead(dense.channels, CLASSES[recipe.data.dataset])
        of_module = multiply_adds(module, features)
        inference = of_dense + of_module + multiply_adds(head, features)
        total = parameters(dense) + sum(parameters(net) for net in (module, head, Projection(spec.dim)))
        printed = _printed(recipe) if kind == "module" else (inference, total)
    return {
        "GFLOPs": printed[0] / 1e9,
        "params": printed[1] / 1e6,
        "GFLOPs_unexplained": 0.0 if kind == "module" else UNEXPLAINED,
        "GFLOPs_stride4": of_module / 1e9,
        "params_module": parameters(module) / 1e6,
        "GFLOPs_inference": inference / 1e9,
        "params_total": total / 1e6,
    }


def multiply_adds(net: nn.Module, x: Tensor) -> int:
    """Operations of `net` in evaluation mode on `x`, by the counting above.

    Counted where they happen, by hooks on layers: one that is called twice counts twice. Raises WsisError for
    a layer with parameters that the counting does not know.
    """
    total = 0

    def count(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        total += _operations(layer, inputs[0], output)

    layers = [layer for layer in net.modules() if not any(layer.children())]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    training = net.training
    try:
        with torch.no_grad():
            net.eval()(x)
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    return total


def parameters(net: nn.Module) -> int:
    """Number of parameters; one that is shared counts once."""
    return sum(p.numel() for p in net.parameters())


def _operations(layer: nn.Module, x: Tensor, output: Tensor) -> int:
    if isinstance(layer, nn.Conv2d):
        return output.numel() * layer.weight[0].numel()
    if isinstance(layer, nn.Linear):
        return output.numel() * layer.in_features
    if isinstance(layer, nn.BatchNorm2d):
        return NORM * x.numel()
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return x.numel()
    if parameters(layer):
        raise WsisError(f"complexity: a layer of kind {layer.__class__.__name__} has no rule of counting")
    return 0


@lru_cache
def _backbone(model: ModelSpec, multi_scale: bool, stage_dim: int) -> tuple[DenseFeatures, int]:
    """The backbone, and its operations on an image of SIDE x SIDE pixels."""
    with torch.device("meta"):
        net = build_dense(model.model_copy(update={"weights": "none"}), multi_scale, stage_dim)
        operations = multiply_adds(net, torch.zeros(1, 3, SIDE, SIDE))
    return net, operations


def _printed(recipe: Recipe) -> tuple[int, int]:
    """Operations and parameters of the boundary module as Tables 4 and 5 must have counted them."""
    module, projection = BoundaryModule(CHANNELS, recipe.baiseg), Projection(recipe.baiseg.dim)
    x = torch.zeros(1, CHANNELS, SIDE, SIDE)
    hidden = module.features(x)
    shown = multiply_adds(module, x) - multiply_adds(module.last, hidden) + multiply_adds(projection, hidden)
    return shown, parameters(module)
