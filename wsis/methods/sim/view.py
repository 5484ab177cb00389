"""What the momentum network sees of a batch: unit features Z', and the masks of every positive location.

Shapes: B images, D mask channels, h x w mask features, H x W mask grid (twice as fine), G objects of the
batch in order, M positives of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from wsis.data.structures import Targets, sent
from wsis.losses.detection import Positives
from wsis.losses.projection import grid_rectangles, shadows
from wsis.methods.condinst.dynamic_head import dynamic_masks
from wsis.methods.condinst.fcos import of_levels
from wsis.methods.condinst.method import Scene
from wsis.methods.sim.pseudo import accumulate, positive_weights
from wsis.nn.layout import Layout

CHUNK = 64  # mask maps of positives held at a time


@dataclass
class ObjectView:
    """What a momentum network sees of a batch's objects, whatever network it is. No gradient anywhere.

    features: B x D x H x W float32, unit over D (Z' of Eq. 1)
    raw:      B x D x h x w float32, mask features before normalisation
    owner, labels: G int64, image and class of each object, on the CPU
    rectangles: G x 4 int64, boxes in grid cells;  covered: G bool, objects that have a positive
    objects:  M int64, the object of every positive
    """

    features: Tensor
    raw: Tensor
    owner: Tensor
    labels: Tensor
    rectangles: Tensor
    covered: Tensor
    objects: Tensor

    def instance(self, mu: float) -> Tensor:
        """M_I: the weighted mean of an object's positive masks; G x H x W float. 0 without a positive."""
        return self.instances([mu])[0]

    def instances(self, mus: list[float]) -> list[Tensor]:
        """M_I for several mu."""
        raise NotImplementedError

    def inside(self) -> Tensor:
        """Cells of each object's box, G x H x W bool."""
        on_x, on_y = shadows(self.rectangles, *self.features.shape[-2:])
        return on_y[:, :, None] & on_x[:, None, :]

    def cells(self, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Image, class, y and x (P int64) of the `chosen` cells, G x H x W bool: each once a class."""
        pairs, of = torch.stack([self.owner, self.labels], 1).unique(dim=0, return_inverse=True)
        merged = chosen.new_zeros(len(pairs), *chosen.shape[1:], dtype=torch.int32)
        merged.index_add_(0, sent(of, chosen.device), chosen.int())
        pair, y, x = merged.nonzero(as_tuple=True)
        return *sent(pairs, chosen.device)[pair].unbind(1), y, x


@dataclass
class View(ObjectView):
    """Of CondInst's network: the masks of every positive location.

    image:    M int64, of every positive, on the CPU
    points:   M x 2 float (x, y), the locations in pixels of the network input
    radii:    M float, unit of their relative coordinates
    ious:     M float, of the predicted box with the object's (Eq. 6)
    parameters: M x T float, weights of their dynamic mask heads
    boxes:    G x 4 xyxy pixels of the network input, on the CPU
    """

    image: Tensor
    points: Tensor
    radii: Tensor
    ious: Tensor
    parameters: Tensor
    boxes: Tensor
    layout: Layout
    hidden: int

    def weights(self, mu: float) -> Tensor:
        """Normalised w_pos of Eq. 6 for every positive; M float."""
        return positive_weights(self.ious, self.objects, len(self.owner), mu)

    def instances(self, mus: list[float]) -> list[Tensor]:
        """M_I for several mu, with one pass over the positives, a few of them at a time."""
        height, width = self.features.shape[-2:]
        maps = [self.features.new_zeros(len(self.owner), height, width) for _ in mus]
        weights = [self.weights(mu) for mu in mus]
        for here in (slice(i, i + CHUNK) for i in range(0, len(self.image), CHUNK)):
            logits = dynamic_masks(
                self.raw,
                self.image[here],
                self.parameters[here],
                self.points[here],
                self.radii[here],
                self.layout,
                self.hidden,
            )
            for of_mu, weight in zip(maps, weights, strict=True):
                accumulate(of_mu, logits, weight[here], self.objects[here])
        return [of_mu.clamp_(max=1.0) for of_mu in maps]  # weights sum to 1 but for rounding


@torch.no_grad()
def make_view(
    scene: Scene,
    parameters: Tensor,
    features: Tensor,
    targets: list[Targets],
    positives: Positives,
    layout: Layout,
    hidden: int,
) -> View:
    """Collect a View.

    Args:
        scene: what the momentum network's detector sees
        parameters: M x T, its controller's at the positives
        features: B x D x h x w, its mask features
        positives: of the batch, from the student's assignment
    """
    device = features.device
    places = torch.stack([positives.image, positives.location, positives.object])
    image, location, objects = sent(places, device)
    owner = torch.repeat_interleave(torch.tensor([len(t.boxes) for t in targets]))
    true = torch.cat([t.boxes for t in targets])
    covered = torch.zeros(len(owner), dtype=torch.bool).index_fill_(0, positives.object, True)
    raw = features.float()
    fine = unit(fine_features(raw))
    rectangles = grid_rectangles(true, layout.out_stride, *fine.shape[-2:], layout.official)
    return View(
        features=fine,
        raw=raw,
        image=positives.image,
        objects=objects,
        points=scene.points[location],
        radii=of_levels(layout.radii, device)[scene.levels[location]],
        ious=ltrb_iou(scene.outputs["boxes"][image, location], sent(positives.ltrb, device)),
        parameters=parameters,
        owner=owner,
        labels=torch.cat([t.labels for t in targets]),
        boxes=true,
        rectangles=sent(rectangles, device),
        covered=sent(covered, device),
        layout=layout,
        hidden=hidden,
    )


def fine_features(features: Tensor) -> Tensor:
    """B x D x h x w -> B x D x 2h x 2w float32, by the rule that enlarges mask logits."""
    return F.interpolate(features.float(), scale_factor=2, mode="bilinear", align_corners=False)


def unit(vectors: Tensor) -> Tensor:
    """z / ||z|| over dimension 1 (Sec. 3.2.1), any shape behind it."""
    return vectors * vectors.square().sum(1, keepdim=True).clamp(min=1e-12).rsqrt()


def ltrb_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU of boxes around one point, given as distances l, t, r, b >= 0; M x 4 -> M in [0, 1]."""
    near = torch.minimum(first, second)
    shared = (near[:, 0] + near[:, 2]) * (near[:, 1] + near[:, 3])
    areas = [(box[:, 0] + box[:, 2]) * (box[:, 1] + box[:, 3]) for box in (first, second)]
    return shared / (areas[0] + areas[1] - shared).clamp(min=1e-9)
