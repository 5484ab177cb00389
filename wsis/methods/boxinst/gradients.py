"""`wsis bench gradients`: how hard the two loss terms pull at mask logits, in either variant, on photographs.

Eq. 8 divides by all edges of E_in, the released code by those that supervise (erratum b3), so that the weight
of the pairwise term beside the projection differs with the image. Nothing is trained: the logits are those of
masks half learnt, a box's inside above its outside, with noise that is the same for every variant.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from rich.table import Table

from wsis.data.annotations import Picture
from wsis.data.loading import eval_view
from wsis.data.places import named_roots
from wsis.data.roots import open_root
from wsis.declare.load import load_recipe, merged, parse
from wsis.declare.recipe import Recipe
from wsis.errors import WsisError
from wsis.losses.colour import colour_edges
from wsis.losses.pairwise import pairwise_loss
from wsis.losses.projection import grid_rectangles, projection_loss, shadows
from wsis.methods.boxinst.method import term_gradients
from wsis.nn.layout import RESNET
from wsis.options import JsonOption

BASE = "r50-1x"  # of the paper's recipes
VARIANTS: dict[str, dict[str, Any]] = {
    "paper, tau 0.1": {},
    "released, tau 0.1": {"variant": "released", "loss.pairwise.tau": 0.1},
    "released, tau 0.3": {"variant": "released"},
}
INSIDE, NOISE = 1.0, 1.0  # mean logit in a box, and minus that outside of it; standard deviation of the noise


def bench(
    data_root: Annotated[str, typer.Option(help="PATH of a COCO root, or coco=PATH")],
    images: Annotated[int, typer.Option(min=1, help="photographs with objects, the first of val2017")] = 12,
    as_json: JsonOption = False,
) -> None:
    """Gradients of BoxInst's two terms for mask logits: paper's against released's, on photographs."""
    root = named_roots(data_root).get("coco")
    if root is None:
        raise WsisError(f"--data-root {data_root}: the photographs are COCO's: give coco=PATH")
    recipes = {name: _recipe(keys) for name, keys in VARIANTS.items()}
    paper = next(iter(recipes.values()))
    pictures = islice(_pictures(paper, str(root)), images)
    rows = {picture.path.name: _of_image(recipes, picture) for picture in pictures}
    found = summary(rows)
    if as_json:
        print(json.dumps({"images": rows, "summary": found}, indent=1))
        return
    table = Table("", "pairwise over projection", "pairwise over the paper's")
    for name, values in found.items():
        table.add_row(name, *(_range(values[key]) for key in ("pair_to_proj", "pair_to_paper")))
    Console().print(table)
    print(
        f"median [lowest, highest] of {len(rows)} photographs; mask logits +-{INSIDE:g} with noise {NOISE:g}"
    )


def summary(rows: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, list[float]]]:
    """Variant -> median, lowest and highest over images of two ratios of gradients.

    pair_to_proj: its pairwise term's over its projection's; pair_to_paper: the same over the paper's
    rows: image -> variant -> norms (`term_gradients`)
    """
    first = next(iter(VARIANTS))
    found = {}
    for name in VARIANTS:
        ratios = [row[name]["pair_to_proj"] for row in rows.values()]
        to_paper = [row[name]["gradient_pair"] / row[first]["gradient_pair"] for row in rows.values()]
        found[name] = {"pair_to_proj": _spread(ratios), "pair_to_paper": _spread(to_paper)}
    return found


def _of_image(recipes: dict[str, Recipe], picture: Picture) -> dict[str, dict[str, float]]:
    """Norms of the gradients by variant, of one image at the size of inference, one location an object."""
    paper, stride = next(iter(recipes.values())), RESNET.out_stride
    view, placed = eval_view(paper.data, picture)
    image, boxes = torch.from_numpy(view.image.transpose(2, 0, 1).copy()), torch.from_numpy(view.boxes)
    padding = (0, -image.shape[2] % stride, 0, -image.shape[1] % stride)
    valid = F.pad(torch.ones(image.shape[1:], dtype=torch.bool), padding)
    image = F.pad(image, padding)
    height, width = (side // stride for side in image.shape[1:])
    on_x, on_y = shadows(grid_rectangles(boxes, stride, height, width), height, width)
    noise = torch.randn(len(boxes), height, width, generator=torch.Generator().manual_seed(picture.id))
    logits = torch.where(on_y[:, :, None] & on_x[:, None], INSIDE, -INSIDE) + NOISE * noise
    index = torch.zeros(len(boxes), dtype=torch.long)
    found = {}
    for name, recipe in recipes.items():
        spec, z = recipe.loss.pairwise, logits.clone().requires_grad_()
        rectangles = grid_rectangles(boxes, stride, height, width, recipe.model.details == "official")
        ignored = (spec.bottom_rows * torch.tensor([placed.scale])).floor()
        edges = colour_edges(image[None], valid[None], ignored, stride, spec)
        losses = {
            "loss_proj": projection_loss(z, rectangles).mean(),
            "loss_pair": pairwise_loss(z, rectangles, index, edges, spec),
        }
        found[name] = {key: value.item() for key, value in term_gradients(losses, z).items()}
    return found


def _recipe(keys: dict[str, Any]) -> Recipe:
    return parse(Recipe, merged(load_recipe("boxinst", BASE, "bench"), keys), BASE).settled()


def _pictures(recipe: Recipe, root: str) -> Iterator[Picture]:
    """Evaluation pictures with objects, with their boxes."""
    data = recipe.data.model_copy(update={"train": recipe.data.eval})
    opened = open_root(recipe.model_copy(update={"data": data}), root)
    return (picture for picture in opened.train if any(not each.crowd for each in picture.instances))


def _spread(values: list[float]) -> list[float]:
    return [statistics.median(values), min(values), max(values)]


def _range(values: list[float]) -> str:
    return "{:.2f} [{:.2f}, {:.2f}]".format(*values)
