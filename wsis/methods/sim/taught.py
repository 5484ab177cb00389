"""What is SIM's on every network: pseudo masks from prototypes and positives, online copy-paste.

L = L_lowlevel + lambda_1 L_pseudo + lambda_2 L_paste (Li et al., CVPR 2023, Eq. 10), the latter two after
`sim.warmup` iterations. `variant: paper` follows the equations, `released` the official code; their
differences, with their numbers in errata.yaml, are keys of `sim`.

Shapes: B images, G objects of the batch in order, K kept positives, H x W mask grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wsis.data.structures import Batch, sent
from wsis.declare.recipe import Recipe
from wsis.methods.boxinst.method import BoxLosses
from wsis.methods.mask_predictions import MaskPredictions
from wsis.methods.sim.bank import Bank, Entry, entries
from wsis.methods.sim.declared import section
from wsis.methods.sim.losses import paste_loss, pseudo_loss
from wsis.methods.sim.paste import Composite, compose
from wsis.methods.sim.prototypes import Prototypes, capped
from wsis.methods.sim.pseudo import CONFIDENT, Labels, correct, label
from wsis.methods.sim.view import ObjectView, unit


@dataclass
class Maps:
    """Probability maps of a batch's objects, each G x H x W float in [0, 1].

    semantic: M_S (Eq. 1);  instance: M_I;  corrected: M^_prob (Eq. 7)
    known: G bool, whether the object's class has prototypes yet
    """

    semantic: Tensor
    known: Tensor
    instance: Tensor
    corrected: Tensor


@dataclass
class Student:
    """What the student makes of a batch: mask logits and features Z; view: what its momentum network sees."""

    masks: MaskPredictions
    features: Tensor
    view: ObjectView


class SelfTaught(BoxLosses):
    """A momentum network, prototypes and a memory bank, whatever the network: a subclass brings it.

    momentum: the momentum network, with `follow`
    """

    momentum: nn.Module

    def __init__(self, recipe: Recipe, num_classes: int) -> None:
        super().__init__(recipe, num_classes)
        self.spec = section(recipe)
        self.released = self.spec.momentum == "released"
        self.momentum = self.momentum_network()
        self.prototypes = Prototypes(num_classes, self.feature_channels, self.spec)
        self.bank = Bank(self.spec.bank)
        self._pixels: list[tuple[Tensor, Tensor, Tensor]] = []  # of this step's micro-batches, and
        self._present: list[Tensor] = []  # the classes that they may have
        self._entries: list[Entry] = []  # for the bank, at the end of the step
        self._draws = torch.Generator()

    def momentum_network(self) -> nn.Module:
        """The momentum network of this student, built with it."""
        raise NotImplementedError

    @property
    def feature_channels(self) -> int:
        """D of the mask features Z."""
        raise NotImplementedError

    def on_grid(self, features: Tensor) -> Tensor:
        """Mask features on the grid of the mask logits: B x D x H x W float32."""
        raise NotImplementedError

    def student(
        self, batch: Batch, composite: Composite, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Student]:
        """The detector's losses on the batch after pasting, and what the mask losses read.

        batch: before pasting, of which a frozen detector has seen most
        """
        raise NotImplementedError

    def begin(self) -> None:
        """The momentum network starts as a copy of the student (Sec. 3.4)."""
        if not self.released:
            self.momentum.follow(self, 0.0)

    def on_step_end(self, iteration: int) -> None:
        """Prototypes, bank and momentum network, once a step however it was split.

        A copy begins at the end of the warm-up, which doesn't use it.
        """
        super().on_step_end(iteration)
        self._move_prototypes()
        for entry in self._entries:
            self.bank.push(entry)
        self._entries.clear()
        if self.released or iteration >= self.spec.warmup:
            self.momentum.follow(self, self.spec.ema)
        elif iteration + 1 == self.spec.warmup:
            self.momentum.follow(self, 0.0)

    def local_state(self) -> dict[str, Any]:
        """The memory bank, which every process fills with its own images."""
        return self.bank.state()

    def load_local_state(self, state: dict[str, Any]) -> None:
        """Restore what `local_state` returned."""
        self.bank.load(state)

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """BoxInst's losses, loss_pseudo (Eq. 8) and loss_paste (Eq. 9), weighted as in Eq. 10."""
        step = self.steps()
        active = step >= self.spec.warmup
        if not active and not self.released:
            losses = super().losses(batch, generator)
            nothing = sum(losses.values()) * 0.0
            return losses | {"loss_pseudo": nothing, "loss_paste": nothing}
        pasting = active and self.spec.lambda_paste > 0
        composite, draws = self._composite(batch, generator)
        losses, student = self.student(batch, composite, generator)
        batch, masks, view = composite.batch, student.masks, student.view
        losses |= self.mask_losses(batch, masks, self._affinity_features(view))

        with torch.no_grad():
            maps = self.maps(view)
            labels = label(maps.corrected, maps.instance, view.rectangles, view.covered, self.spec)
            half = self.layout.out_stride // 2  # padding has no label
            cells = batch.valid[:, half :: 2 * half, half :: 2 * half]
            labels.weight &= cells[sent(view.owner, cells.device)]
            self._collect_pixels(view, maps, labels, student.features, draws)
            if pasting:
                stride = self.layout.out_stride
                self._entries += entries(
                    batch, labels.paste, labels.scores, composite.touched, stride, self.spec
                )
        return losses | self._pseudo_losses(masks, view, labels, composite, step if active else None)

    def _composite(self, batch: Batch, generator: torch.Generator) -> tuple[Composite, torch.Generator]:
        """The batch after pasting, the same at every call in a step, and the source of draws beside it.

        Draws of their own, so that rows that paste and rows that don't keep the same positives. Without
        pasting the bank stays empty, and the batch as it is.
        """
        draws = self._draws.manual_seed(generator.initial_seed() ^ 1)
        return compose(batch, self.bank, self.spec, self.layout.out_stride, draws), draws

    def _pseudo_losses(
        self, masks: MaskPredictions, view: ObjectView, labels: Labels, composite: Composite, step: int | None
    ) -> dict[str, Tensor]:
        """loss_pseudo on the objects of the image, loss_paste on the pasted ones; 0 during the warm-up."""
        if step is None or len(masks.logits) == 0:
            nothing = masks.logits.sum() * 0.0
            return {"loss_pseudo": nothing, "loss_paste": nothing}
        spec = self.spec
        pasted = torch.cat(composite.pasted)[masks.object]
        rest = masks if spec.paste_average == "all" else masks.where(~pasted)
        logits, here = rest.logits, sent(rest.object, masks.logits.device)
        pseudo = pseudo_loss(
            logits,
            labels.target[here],
            labels.weight[here],
            spec,
            self._granted(view, here),
            view.inside()[here] if spec.regions == "apart" else None,
        )
        objects = sent(masks.object, masks.logits.device)
        paste = paste_loss(masks.logits, torch.cat(composite.masks)[objects], spec, pasted)
        totals = composite.batch.totals
        if spec.average == "positives":  # else over cells that only the network tells
            pseudo = pseudo * totals.weight("locations" if spec.paste_average == "all" else "others")
        if spec.average == "positives" and spec.paste_average == "pasted":
            paste = paste * totals.weight("pasted")
        ramp = min(step / spec.lambda_ramp, 1.0) if spec.lambda_ramp else 1.0
        return {
            "loss_pseudo": spec.lambda_pseudo * ramp * pseudo,
            "loss_paste": spec.lambda_paste * paste,
        }

    def _granted(self, view: ObjectView, objects: Tensor) -> Tensor | None:
        """For the control: half of each box, which its dice counts as right (`pseudo_loss`); K float."""
        if self.spec.labels:
            return None
        sizes = view.rectangles[:, 2:] - view.rectangles[:, :2]
        return sizes.prod(1)[objects].float() / 2

    @torch.no_grad()
    def maps(self, view: ObjectView) -> Maps:
        """M_S, M_I and the corrected map of every object."""
        semantic, known = self.prototypes.semantic(view.features, view.owner, view.labels)
        instance = view.instance(self.spec.mu)
        return Maps(semantic, known, instance, correct(semantic, known, instance, self.spec.alpha))

    @property
    def uses_features(self) -> bool:
        return self.spec.affinity != "colour"

    def _affinity_features(self, view: ObjectView) -> Tensor | None:
        """Features whose likeness the released code multiplies with that of the colours (S11)."""
        return self.on_grid(view.raw) if self.uses_features else None

    def _collect_pixels(
        self, view: ObjectView, maps: Maps, labels: Labels, features: Tensor, generator: torch.Generator
    ) -> None:
        """Features of the pixels that will move the prototypes at the end of the step.

        The student's Z, to which they move, and those by which they are assigned: Z, or Z' (S24).
        """
        if self.spec.pixels == "pseudo":
            image, classes, y, x = view.cells(labels.target & view.inside() & view.covered[:, None, None])
        else:  # once for every positive of the object (S5)
            chosen = (maps.instance > CONFIDENT) & view.inside()
            positive, y, x = chosen[view.objects].nonzero().unbind(1)
            objects = view.objects[positive]
            image, classes = sent(torch.stack([view.owner, view.labels]), objects.device)[:, objects]
        kept = capped(classes, self.spec.pixel_cap, generator)
        image, y, x = image[kept], y[kept], x[kept]
        pixels = unit(self.on_grid(features.detach())[image, :, y, x])
        scored = view.features[image, :, y, x] if self.spec.assigned_by == "momentum" else pixels
        self._pixels.append((pixels, scored, classes[kept]))
        self._present.append(view.labels)

    def _move_prototypes(self) -> None:
        """Eqs. 2 to 5, once a step however it was split; every process does so in every step."""
        if self._pixels:
            pixels, scored, classes = (torch.cat(parts) for parts in zip(*self._pixels, strict=True))
            present = torch.cat(self._present).unique()
            self._pixels.clear()
            self._present.clear()
            self.prototypes.update(pixels, classes, self._draws, present, scored)
