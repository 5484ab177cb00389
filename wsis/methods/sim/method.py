"""SIM on CondInst's network, whose positives are the locations that detect an object.

Shapes: B images.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from wsis.data.structures import Batch, sent
from wsis.losses.detection import Positives, detection_totals
from wsis.methods.boxinst.method import BoxInst
from wsis.methods.condinst.method import Scene
from wsis.methods.sim.momentum import MomentumNetwork
from wsis.methods.sim.paste import Composite
from wsis.methods.sim.taught import SelfTaught, Student
from wsis.methods.sim.view import View, fine_features, make_view


class SIM(SelfTaught, BoxInst):
    """BoxInst on CondInst's network, which teaches itself."""

    mask_part = (*BoxInst.mask_part, "momentum.", "prototypes.")

    def momentum_network(self) -> MomentumNetwork:
        return MomentumNetwork(self, self.released)

    @property
    def feature_channels(self) -> int:
        return self.recipe.model.mask_channels

    def on_grid(self, features: Tensor) -> Tensor:
        return fine_features(features)

    def student(
        self, batch: Batch, composite: Composite, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Student]:
        scene, batch = self._composite_scene(batch, composite), composite.batch
        features = self.mask_branch(scene.pyramid)
        positives = self.positives(batch)
        losses = self.detection_losses(scene, positives, batch.totals)
        masks = self.mask_predictions(batch, scene, features, positives, generator)
        return losses, Student(masks, features, self._view(batch, scene, positives))

    def totals(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """BoxInst's of the batch after pasting, and the numbers of pasted and other positives."""
        composite, _ = self._composite(batch, generator)
        batch = composite.batch
        positives = self.positives(batch)
        totals = detection_totals(positives)
        if self.recipe.normalise == "device":
            return totals
        kept = self.kept(batch, positives, None, generator)
        pasted = torch.cat(composite.pasted)[kept.object]
        return totals | self.mask_totals(batch, kept) | {"pasted": pasted.sum(), "others": (~pasted).sum()}

    def _composite_scene(self, batch: Batch, composite: Composite) -> Scene:
        """The scene of a batch after pasting; a frozen detector looks again only where there is a change."""
        if not (self.frozen and composite.touched.any()):
            return self.scene(composite.batch)
        touched = sent(composite.touched.nonzero().squeeze(1), batch.images.device)
        before = self.scene(batch)
        sizes = [batch.sizes[image] for image in composite.touched.nonzero().flatten().tolist()]
        fresh = self.detect(composite.batch.images[touched], sizes)
        pyramid, outputs = (
            {name: value.index_copy(0, touched, new[name]) for name, value in old.items()}
            for old, new in ((before.pyramid, fresh.pyramid), (before.outputs, fresh.outputs))
        )
        return replace(before, pyramid=pyramid, outputs=outputs)

    @torch.no_grad()
    def view(self, batch: Batch) -> View:
        """What the momentum network sees of a batch with its boxes."""
        scene = self.scene(batch)
        return self._view(batch, scene, self.positives(batch))

    def _view(self, batch: Batch, student: Scene, positives: Positives) -> View:
        scene, features = self.momentum(batch.images, student)
        parameters = self.momentum.parameters_at(scene, positives.image, positives.location)
        hidden = self.recipe.model.head_channels
        return make_view(scene, parameters, features, batch.targets, positives, self.layout, hidden)
