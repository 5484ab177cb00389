"""SIM's prototypes: sub-centres of each class in the space of mask features (Sec. 3.2.1, Eqs. 1 to 5).

Shapes: C classes, L prototypes a class, D channels of mask features; B images, H x W mask grid, G objects,
P pixels. Features have unit length over D.

Where paper and released code differ: S3 `prototype_norm`, S4 `assign`, S21 `centre`; S5 `pixels` and S24
`assigned_by` are the caller's choice.
The paper is silent about the start: here the first centroid replaces the random one, and early ones weigh the
same.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from wsis.data.structures import sent
from wsis.methods.sim.sinkhorn import sinkhorn
from wsis.methods.sim.spec import SimSpec

PAIRS = 16  # classes of images whose scores (L x H x W each) are held at a time


class Prototypes(nn.Module):
    """Scores pixels by their prototypes (Eq. 1) and moves the prototypes (Eqs. 2 to 5), without gradients.

    Buffers: vectors C x L x D float32, of unit length over D (over L with `prototype_norm: prototypes`);
    updates C x L int64, how often each was moved. Equal on all processes once they start equal.
    """

    vectors: Tensor
    updates: Tensor

    def __init__(self, classes: int, dim: int, spec: SimSpec) -> None:
        """spec: settled (no null switches)."""
        super().__init__()
        self.spec = spec
        self.axis = {"channels": 2, "prototypes": 1}[spec.prototype_norm]
        start = torch.randn(classes, spec.prototypes, dim)
        self.register_buffer("vectors", F.normalize(start, dim=self.axis))
        self.register_buffer("updates", torch.zeros(classes, spec.prototypes, dtype=torch.int64))

    @torch.no_grad()
    def semantic(self, features: Tensor, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """M_S of Eq. 1, for each object that of its class: sigma(max_l <z, p_l> / tau).

        Prototypes that were never moved are still random and don't take part. Objects of one class in one
        image share their map.

        Args:
            features: B x D x H x W float, unit length over D
            image: G int64 on the CPU, the image of each object
            labels: G int64 in [0, C) on the CPU

        Returns:
            G x H x W float32 in (0, 1), 0.5 where no prototype of the class was ever moved; and
            G bool, whether any was.
        """
        classes = len(self.vectors)
        pairs, owner = (image * classes + labels).unique(return_inverse=True)
        image, labels = sent(torch.stack([pairs // classes, pairs % classes]), features.device)
        owner = sent(owner, features.device)
        moved = self.updates[labels] > 0
        known = moved.any(1)
        highest = features.new_empty(len(pairs), features[0, 0].numel(), dtype=torch.float32)
        with torch.autocast(features.device.type, enabled=False):
            for here in (slice(i, i + PAIRS) for i in range(0, len(pairs), PAIRS)):
                scores = self.vectors[labels[here]] @ features[image[here]].float().flatten(2)
                highest[here] = scores.masked_fill_(~moved[here, :, None], float("-inf")).amax(1)
        maps = (highest / self.spec.temperature).sigmoid().masked_fill(~known[:, None], 0.5)
        return maps.unflatten(1, features.shape[2:])[owner], known[owner]

    @torch.no_grad()
    def update(
        self,
        pixels: Tensor,
        labels: Tensor,
        generator: torch.Generator,
        present: Tensor | None = None,
        scored: Tensor | None = None,
    ) -> None:
        """Move the prototypes towards the centres of the pixels assigned to them (Eqs. 2 to 5).

        p = m p + (1 - m) centre, then normalised; m = min(gamma, n / (n + 1)) after n moves. The centre is
        the mean of its pixels, or with `centre: sum` that scaled to unit length. A prototype without pixels
        stays as it is (its length over L aside). Each process assigns its own pixels, at most `pixel_cap` of
        a class; sums and counts are added up over processes.

        Every process must call this in every step, also with P = 0: it is a collective operation.

        Args:
            pixels: P x D float, unit length
            labels: P int64 in [0, C), the class of each pixel
            generator: on the CPU; used where a class exceeds the cap and for `assign: sample`
            present: classes among which all of `labels` are, ascending, on the CPU; None: they are looked for
            scored: P x D float, unit length, by which pixels are assigned; None: `pixels`
        """
        kept = capped(labels, self.spec.pixel_cap, generator)
        scored = pixels if scored is None else scored
        pixels, scored, labels = pixels[kept].float(), scored[kept].float(), labels[kept]
        slots = labels * self.spec.prototypes + self.assign(scored, labels, generator, present)

        # Sums and counts in one tensor, in double precision so that the order of pixels doesn't show.
        rows = F.pad(pixels.double(), (0, 1), value=1.0)
        totals = rows.new_zeros(self.updates.numel(), rows.shape[1]).index_add(0, slots, rows)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(totals)
        sums, counts = totals.view(*self.updates.shape, -1).split([pixels.shape[1], 1], 2)

        n = self.updates[:, :, None].double()
        momentum = (n / (n + 1)).clamp(max=self.spec.prototype_momentum)
        summed = self.spec.centre == "sum"
        centres = F.normalize(sums, dim=2) if summed else sums / counts.clamp(min=1)
        averaged = momentum * self.vectors + (1 - momentum) * centres
        moved = (sums != 0).any(2, keepdim=True)  # some pixels, not all of them featureless
        normalised = F.normalize(torch.where(moved, averaged, self.vectors.double()), dim=self.axis)
        changed = moved if self.axis == 2 else moved.any(1, keepdim=True)  # lengths over L change together
        self.vectors.copy_(torch.where(changed, normalised, self.vectors.double()))
        self.updates += moved[:, :, 0]

    def assign(
        self, pixels: Tensor, labels: Tensor, generator: torch.Generator, present: Tensor | None = None
    ) -> Tensor:
        """Prototype of each pixel among its class's: the largest entry of Q (Eq. 2), or a sample (S4).

        The released code draws a hard Gumbel-softmax sample with Q itself as logits: prototype l with a
        probability in proportion to exp(Q_l), whatever the temperature.

        Args:
            pixels: P x D float32; labels: P int64 in [0, C); present: see `update`

        Returns:
            P int64 in [0, L).
        """
        present = labels.unique().cpu() if present is None else present
        numbers = torch.zeros(len(self.vectors), dtype=torch.int64).index_copy_(
            0, present, torch.arange(len(present))
        )
        groups = sent(numbers, labels.device)[labels]
        with torch.autocast(pixels.device.type, enabled=False):
            vectors = self.vectors[sent(present, labels.device)]
            scores = pixels @ vectors.flatten(0, 1).T  # with all classes present
        scores = scores.view(len(pixels), len(present), self.spec.prototypes)
        scores = scores[torch.arange(len(pixels), device=pixels.device), groups]
        eps, iterations = self.spec.sinkhorn_eps, self.spec.sinkhorn_iterations
        plan = sinkhorn(scores, groups, len(present), eps, iterations)
        if self.spec.assign == "sample":
            noise = torch.empty(plan.shape).exponential_(generator=generator)
            plan = plan - sent(noise.log(), plan.device)
        return plan.argmax(1)


def capped(labels: Tensor, cap: int | None, generator: torch.Generator) -> Tensor:
    """Indices of at most `cap` random pixels of each class (all without a cap). P int64 -> at most P int64.

    generator: on the CPU; not used where no class can exceed the cap.
    """
    if cap is None or len(labels) <= cap:
        return torch.arange(len(labels), device=labels.device)
    order = torch.randperm(len(labels), generator=generator)
    order = sent(order, labels.device)
    order = order[labels[order].argsort(stable=True)]  # by class, random within
    ranked = labels[order]
    place = torch.arange(len(labels), device=labels.device) - torch.searchsorted(ranked, ranked)
    return order[place < cap]
