"""BAISeg (Wang and Bai, 2024): one backbone, a semantic and a boundary branch, trained on semantic masks.

The boundary branch learns the contours between classes (Eq. 1) and a pixel contrast (Eq. 6); at inference the
contours that it finds between objects, too, cut the semantic map into instances (Sec. 3.6).
Shapes: B images, S x S crop, s stride of the features, C classes, d channels of the boundary branch; semantic
maps are uint8: 0 background, label + 1, 255 void.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsis.data.annotations import Picture
from wsis.data.loading import Shard, image_tensor
from wsis.data.roots import Root
from wsis.data.salient import SalientRoot
from wsis.data.structures import (
    BoxMask,
    BoxSample,
    Instances,
    SemanticBatch,
    SemanticSample,
    all_once,
    fetched,
    sent,
)
from wsis.data.transforms import padded
from wsis.declare.recipe import Recipe
from wsis.errors import WsisError
from wsis.methods.baiseg.batches import semantic_batches, semantic_samples, training_samples
from wsis.methods.baiseg.boundary_loss import boundary_loss, contours
from wsis.methods.baiseg.cascade import BoundaryModule
from wsis.methods.baiseg.contrast import contrast_loss, contrast_totals
from wsis.methods.baiseg.dense import build_dense
from wsis.methods.baiseg.extract.instances import Extracted
from wsis.methods.baiseg.extract.pipeline import extract
from wsis.methods.baiseg.maps import Maps, boundary_of, network_input
from wsis.methods.baiseg.semantic_head import WIDTH, Projection, SemanticHead
from wsis.methods.baiseg.semantic_loss import hardest_pixels, semantic_loss
from wsis.methods.baiseg.spec import BaisegSpec
from wsis.methods.baiseg.threshold import set_threshold
from wsis.methods.fill import overlapping
from wsis.methods.parts import Parts
from wsis.nn.backbones import MEAN, STD
from wsis.records import read_record

TINY_WIDTH = 32  # hidden channels of the semantic head and of the contrast's embedding, where d is small


class BAISeg(Parts):
    """The network, its losses, and the instances of an image.

    Its base is the backbone with the semantic branch, the boundary branch is the masks' part. The
    features of a frozen base are kept on the batch.
    threshold: of the boundary map; the recipe's, or None until `calibrate` has chosen one.
    """

    mask_part = ("boundary.", "projection.")
    idle = False
    one_size = True

    def __init__(self, recipe: Recipe, num_classes: int) -> None:
        """num_classes: C. Raises WsisError for a recipe of another method or supervision."""
        super().__init__(recipe)
        if recipe.baiseg is None:
            raise WsisError("method 'baiseg' needs the section 'baiseg' in its recipe")
        if recipe.data.supervision not in ("semantic", "masks"):
            raise WsisError(
                f"method 'baiseg' learns from semantic masks: data.supervision '{recipe.data.supervision}';"
                " set 'semantic', or 'masks' for the control that sees instance contours"
            )
        self.spec = spec = recipe.baiseg
        width = TINY_WIDTH if recipe.model.backbone.startswith("tiny") else WIDTH
        self.backbone = build_dense(recipe.model, spec.multi_scale, spec.stage_dim)
        channels = self.backbone.channels
        self.boundary = BoundaryModule(channels, spec)
        self.semantic = SemanticHead(channels, num_classes, width)
        self.projection = Projection(spec.dim, width) if spec.ppc else None
        self.threshold = spec.threshold
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)
        self.set_trained()

    def stream(self, root: Root, salient: SalientRoot | None, shard: Shard) -> Iterator[list[SemanticBatch]]:
        return semantic_batches(self.recipe, root, shard)

    def cut(self, root: Root) -> Hashable:
        """VOC lists pictures by their maps, or by their objects; maps come from different systems."""
        spec = self.spec
        return spec.crop, spec.photometric, spec.train_semantics, tuple(root.train.ids.tolist())

    def samples(self, root: Root, rank: int = 0, world: int = 1) -> Iterator[SemanticSample]:
        return semantic_samples(self.recipe, root, rank, world)

    def training_samples(self, root: Root, pictures: Sequence[Picture]) -> Iterator[SemanticSample]:
        return training_samples(self.recipe, root, pictures)

    def image_sample(self, image: np.ndarray, id: int) -> SemanticSample:
        needed = {"a semantic map": self.spec.eval_semantics != "predicted"}
        needed["the objects' contours"] = self.spec.boundary == "truth"
        if lacking := [name for name, asked in needed.items() if asked]:
            raise WsisError(f"this recipe of '{self.recipe.method}' needs {lacking[0]} beside each image")
        return SemanticSample(image_tensor(image), image.shape[:2], id)

    def towers(self) -> list[nn.Module]:
        parts = (self.backbone.net, self.boundary, self.semantic, self.projection)
        return [part for part in parts if part is not None]

    def calibrate(self, root: Root) -> dict[str, Any]:
        return set_threshold(self.recipe, self, root)

    def chosen(self) -> dict[str, Any]:
        return {"threshold": self.threshold}

    def restore(self, folder: Path) -> None:
        if self.threshold is None:
            self.threshold = read_record(folder / "train.json").get("threshold", {}).get("value")

    def losses(self, batch: SemanticBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """loss_boundary, loss_semantic and loss_contrast of a batch, weighted; Eq. 7 is their sum.

        A recipe that trains one part alone has only the terms that train it.
        A term without labels (no valid pixel, too few pixels of a kind) is zero with a gradient path, as is
        the contrast before `contrast_warmup` iterations.
        """
        spec, size = self.spec, batch.semantic.shape[-2:]
        features, losses = self.of_base(batch, lambda: self.backbone(self._normalised(batch.images))), {}
        if not self.frozen:
            semantic = semantic_loss(_to_size(self.semantic(features), size), batch.semantic, spec.hardest)
            semantic = semantic * batch.totals.weight("hardest pixels")
            losses = {"loss_semantic": spec.weight_semantic * semantic}
        if self.recipe.model.trained == "base":
            return losses
        logits, embedded = self.boundary(features)
        edge, valid = _edges(batch)
        boundary = boundary_loss(_to_size(logits, size).squeeze(1), edge, valid)
        boundary = boundary * batch.totals.weight("images with pixels")
        losses |= {"loss_boundary": spec.weight_boundary * boundary}
        if self.projection is not None:
            embeddings = self.projection(embedded)
            contrast = contrast_loss(
                embeddings, logits.squeeze(1), edge, valid, spec, generator, batch.totals
            )
            # The factor and not a branch: on a graphics card the iteration is not known to the CPU.
            contrast = contrast * (self.iteration >= spec.contrast_warmup)
            losses["loss_contrast"] = spec.weight_ppc * contrast
        return losses

    def totals(self, batch: SemanticBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """What the means of the semantic and of the boundary loss are over, and the contrast's alpha.

        Which pixels are the hardest is decided in each shard, and the contrast compares the cells of a shard:
        both need what the network says of all images at once.
        """
        if self.recipe.normalise == "device":
            return {}
        edge, valid = _edges(batch)
        pixels = hardest_pixels(batch.semantic, self.spec.hardest)
        means = {"hardest pixels": pixels, "images with pixels": valid.any(2).any(1).sum()}
        return means | contrast_totals(edge, valid)

    def _normalised(self, images: Tensor) -> Tensor:
        return (images.float() - self.mean) / self.std

    @torch.no_grad()
    def maps(self, samples: Sequence[SemanticSample]) -> list[Maps]:
        """Boundary and semantic map of each image at its original size; the network is in evaluation mode.

        Images that reach the network in one size pass it together. Its maps are kept on the samples, for
        other readings of the same weights.
        """
        groups, key = defaultdict(list), self.key()
        for sample in samples:
            groups[tuple(map(padded, sample.size))].append(sample)
        found = {}
        for group in groups.values():
            found |= zip(map(id, group), self._maps(group, key), strict=True)
        return [found[id(sample)] for sample in samples]

    def _maps(self, samples: list[SemanticSample], key: str) -> list[Maps]:
        """Of images that reach the network in one size; key: digest of the weights."""
        features = cache(lambda: self._features(samples))
        semantics: list[tuple[np.ndarray, np.ndarray] | None] = [None] * len(samples)
        images = [sample.image.cpu().numpy().transpose(1, 2, 0) for sample in samples]
        if self.spec.boundary == "network":
            see = lambda: self._boundary_maps(features(), samples)  # noqa: E731
            boundaries = all_once(samples, (key, "boundary"), see)
        else:
            pairs = zip(images, samples, strict=True)
            boundaries = [boundary_of(self.spec.boundary, image, sample.instances) for image, sample in pairs]
        if any(sample.semantic is None for sample in samples):
            part = self.base_key() if self.frozen else key
            see = lambda: self._semantic_maps(features(), samples)  # noqa: E731
            semantics = all_once(samples, (part, "semantic"), see)
        rows = zip(samples, images, boundaries, semantics, strict=True)
        return [_with_given(sample, *maps) for sample, *maps in rows]

    def _features(self, samples: Sequence[SemanticSample]) -> Tensor:
        """Features of images at their original size, B x C' x H/s x W/s."""

        def compute() -> Tensor:
            pixels = [network_input(sent(sample.image, self.iteration.device)) for sample in samples]
            return self.backbone(self._normalised(torch.stack(pixels)))

        return torch.stack(self.of_base_each(samples, compute, "features"))

    def _boundary_maps(self, features: Tensor, samples: Sequence[SemanticSample]) -> list[np.ndarray]:
        logits = zip(self.boundary(features)[0].split(1), samples, strict=True)
        maps = [_to_size(x, sample.size).sigmoid()[0, 0] for x, sample in logits]
        return [each.numpy() for each in fetched(*maps)]

    def _semantic_maps(
        self, features: Tensor, samples: Sequence[SemanticSample]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Classes and their probabilities; one image at a time has a probability of every class and pixel."""
        maps = []
        for x, sample in zip(self.semantic(features).split(1), samples, strict=True):
            certainty, semantic = _to_size(x, sample.size).softmax(1)[0].max(0)
            maps += [semantic.to(torch.uint8), certainty]
        arrays = [each.numpy() for each in fetched(*maps)]
        return list(zip(arrays[::2], arrays[1::2], strict=True))

    @property
    def extraction(self) -> BaisegSpec:
        """How instances are extracted: the recipe's section with the network's threshold."""
        return self.extraction_at(self.threshold)

    def extraction_at(self, threshold: float | None) -> BaisegSpec:
        """The recipe's section with this threshold. Raises WsisError where one is needed but missing."""
        if threshold is None and self.spec.boundary != "none":
            raise WsisError("no boundary threshold: it is chosen after training; or set baiseg.threshold")
        return self.spec.model_copy(update={"threshold": threshold})

    def predict(self, samples: list[SemanticSample]) -> list[Instances]:
        """Instances of each image, best first, in the frame of the original image."""
        return [_instances(self.extracted(maps)) for maps in self.maps(samples)]

    def fill(self, samples: list[BoxSample]) -> list[list[BoxMask]]:
        """Of the instances of an image, those whose boxes overlap the given ones most."""
        images = [self.image_sample(s.image.permute(1, 2, 0).cpu().numpy(), s.id) for s in samples]
        return [overlapping(*each) for each in zip(samples, self.predict(images), strict=True)]

    def extracted(self, maps: Maps, settings: BaisegSpec | None = None) -> list[Extracted]:
        """The instances of one image's maps; settings: instead of `extraction`."""
        settings = settings or self.extraction
        return extract(maps.image, maps.boundary, maps.semantic, settings, maps.certainty).instances


def _edges(batch: SemanticBatch) -> tuple[Tensor, Tensor]:
    """`contours` of the semantic maps, or of the objects' masks where these supervise."""
    edge, valid = contours(batch.semantic)
    if batch.instances is not None:
        edge, _ = contours(batch.instances, void=-1)
    return edge, valid


def _to_size(x: Tensor, size: tuple[int, int]) -> Tensor:
    """B x c x h x w upsampled bilinearly, float32."""
    return F.interpolate(x.float(), size=tuple(size), mode="bilinear", align_corners=False)


def _with_given(
    sample: SemanticSample,
    image: np.ndarray,
    boundary: np.ndarray | None,
    predicted: tuple[np.ndarray, np.ndarray] | None,
) -> Maps:
    """An image's maps; a semantic map that is given counts for certain."""
    if sample.semantic is not None:
        return Maps(image, boundary, sample.semantic, np.ones(sample.size, np.float32))
    return Maps(image, boundary, *predicted)


def _instances(extracted: list[Extracted]) -> Instances:
    return Instances(
        torch.tensor([e.box for e in extracted], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([e.label for e in extracted], dtype=torch.int64),
        torch.tensor([e.score for e in extracted], dtype=torch.float32),
        [e.mask for e in extracted],
    )
