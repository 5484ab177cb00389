"""State dicts like those of official models, from lists of names and shapes that these models gave."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import nn

from wsis.declare.load import load_recipe, merged, parse
from wsis.declare.recipe import Recipe
from wsis.methods import build_method
from wsis.methods.checkpoints import caffe_strides, fill, source_of, translated

HERE = Path(__file__).parent


def shapes(name: str) -> dict[str, list[int]]:
    """Tensor name -> shape, of a list below tests/methods/ with a line a tensor."""
    lines = (line.split() for line in (HERE / name).read_text().splitlines())
    return {name: [] if shape == "scalar" else [int(n) for n in shape.split("x")] for name, shape in lines}


def numbered(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """Tensors of these shapes, each full of a number of its own."""
    return {name: torch.full(shape, float(i + 1)) for i, (name, shape) in enumerate(shapes.items())}


def shaken(model: nn.Module) -> nn.Module:
    """Random weights whose activations neither vanish nor grow, statistics of batch norm included."""
    draws = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if name.endswith("running_var") or (value.dim() == 1 and name.endswith("weight")):
            value.copy_(torch.rand(value.shape, generator=draws) / 2 + 0.5)
        elif value.is_floating_point():
            spread = 0.1 if value.dim() < 2 else value[0].numel() ** -0.5
            value.copy_(torch.randn(value.shape, generator=draws) * spread)
    return model.eval()


def imported(method: str, config: str, state: dict[str, torch.Tensor]) -> nn.Module:
    """The method's network with an official state dict, in the recipe of a configuration."""
    source = source_of(method, state, "file")
    base, keys = source.configs[config]
    tree = load_recipe(*base.split("/"), "test")
    network = build_method(parse(Recipe, merged(tree, {**keys, "model.weights": "none"}), "test"), 80)
    fill(network, translated(source, state, "file"), "file")
    if source.caffe:
        caffe_strides(network)
    return network.eval()


def with_momentum(names: dict[str, list[int]]) -> dict[str, list[int]]:
    """SIM's list from BoxInst's: a momentum network beside the student, prototypes, the counter elsewhere."""
    parts = r"(backbone|proposal_generator|mask_branch|controller)(\..+)"
    copies = {"_ema".join(m.groups()): s for name, s in names.items() if (m := re.fullmatch(parts, name))}
    student = {name: shape for name, shape in names.items() if name != "mask_head._iter"}
    return student | copies | {"mask_head.prototypes": [80, 10, 16], "_iter": [1]}
