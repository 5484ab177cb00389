"""Which query stands for which object, without masks: by its class, and by how its shadows fit the box.

Mask2Former's costs are its losses. Its masks' are BoxInst's projection loss here, which needs boxes only.
Shapes: B images, Q queries, C classes, L predictions, G objects of the batch (g of an image), M matched,
H x W mask grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from wsis.data.structures import Targets, fetched, sent
from wsis.losses.dice import EPS
from wsis.losses.projection import grid_rectangles, shadows
from wsis.methods.mask2former.network import STRIDE, Queries

WORST = 1e6  # stands for a cost that is no number


@dataclass
class Matches:
    """Objects with their queries, on the CPU: all of an image, or as many as there are queries.

    image: M int64 ascending;  query, object: L x M int64, of each prediction; objects ascend in each
    """

    image: Tensor
    query: Tensor
    object: Tensor


@torch.no_grad()
def match(scene: Queries, targets: list[Targets], of_class: float, of_shadows: float) -> Matches:
    """The cheapest one-to-one matching of each prediction, in each image.

    The host computes it, and waits for the costs of all predictions at once.
    of_class, of_shadows: weights of -p(class) and of the projection loss
    """
    device, probabilities = scene.classes.device, scene.classes.softmax(3)
    costs = []
    for index, target in enumerate(targets):
        rectangles = grid_rectangles(target.boxes, STRIDE, *scene.features.shape[-2:])
        fit = torch.stack([shadow_costs(masks[index], rectangles) for masks in scene.masks])
        likely = probabilities[:, index][:, :, sent(target.labels, device)]
        costs.append(of_shadows * fit - of_class * likely)
    image, query, objects, start = [], [], [], 0
    for index, cost in enumerate(fetched(*costs)):  # L x Q x g
        pairs = [linear_sum_assignment(each) for each in cost.nan_to_num(WORST, WORST, -WORST).numpy()]
        chosen = torch.stack([torch.stack([*map(torch.from_numpy, pair)]) for pair in pairs])  # L x 2 x m
        order = chosen[:, 1].argsort(1)
        query.append(chosen[:, 0].gather(1, order))
        objects.append(chosen[:, 1].gather(1, order) + start)
        image.append(torch.full((chosen.shape[2],), index))
        start += cost.shape[2]
    return Matches(torch.cat(image), torch.cat(query, 1), torch.cat(objects, 1))


def shadow_costs(logits: Tensor, rectangles: Tensor) -> Tensor:
    """L_proj (BoxInst, Eq. 3) of every mask against every box: Q x g.

    logits: Q x H x W; rectangles: g x 4 int64 (`grid_rectangles`), on any device
    """
    on_x, on_y = shadows(sent(rectangles, logits.device), *logits.shape[-2:])
    cost = 0.0
    for axis, box in ((1, on_x), (2, on_y)):
        mask, box = logits.amax(axis).float().sigmoid(), box.float()
        total = mask.square().sum(1)[:, None] + box.sum(1) + EPS
        cost = cost + 1 - 2 * (mask @ box.T) / total
    return cost
