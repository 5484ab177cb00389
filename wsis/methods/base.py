"""A method as the engine knows it: what it trains on, its losses, its predictions, and what it remembers.

The engine, the proxies and the benchmarks call what stands here and nothing else of a method. Defaults are
those of an ordinary detector, which takes whole images; `wsis.methods.fill` has those of methods that
do nothing but give masks to boxes.
Shapes: B images or crops of a micro-batch, N instances of an image, h x w original image.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsis.data.annotations import Picture
from wsis.data.loading import Shard, eval_samples, image_sample, image_tensor, train_batches
from wsis.data.roots import Root
from wsis.data.salient import SalientRoot
from wsis.data.structures import BoxMask, BoxSample, Instances, Memo
from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import SCALE_JITTER
from wsis.declare.specs.schedule import ScheduleSpec
from wsis.errors import WsisError
from wsis.nn.frozen import FrozenStages
from wsis.nn.pyramid import Normalised

# Layers whose weight and bias are not decayed (as in detectron2 and AdelaiDet: weight decay 0 on norms).
UNDECAYED = (
    nn.modules.batchnorm._NormBase,  # batch and instance norm, whatever their dimension
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.Embedding,  # of queries (Mask2Former's code)
)
TABLES = ("relative_position_bias_table",)  # ends of names of parameters that are not decayed either


class Method(nn.Module):
    """Base class of all methods: override `losses` and `predict`, and of the rest what differs.

    A method is built as Class(recipe, num_classes), with a settled recipe and C contiguous labels.
    mask_part: prefixes of the names of parameters that make masks; all other parameters are the base
    idle:      whether some batch leaves a trainable parameter without a gradient; several devices then look
               for those in every step. A method without any says False.
    watched:   None, or where `losses` puts scalars that the log tells beside the losses, in some steps
    one_size:  whether all images of its batches have one size
    """

    mask_part: tuple[str, ...] = ()
    idle: bool = True
    watched: dict[str, Tensor] | None = None
    one_size: bool = False

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        if recipe.data.augment == SCALE_JITTER and len(recipe.data.short_side) == 1:  # padded to one frame
            self.one_size = True

    # Training

    def stream(self, root: Root, salient: SalientRoot | None, shard: Shard) -> Iterator[list[Any]]:
        """The shard's iterations without end, each a list of `shard.micro` batches.

        A batch is a Memo with `ids` (of its images or objects, for messages) and `to(device)`. It depends on
        the recipe, the data and its iteration alone, so that a resumed training sees the same.
        salient: images of one salient object with masks, where the recipe asks for them
        """
        return train_batches(self.recipe, root, shard)

    def cut(self, root: Root) -> Hashable:
        """What decides a stream's images and boxes beside the recipe's data section, seed and batch.

        Runs on one frozen base share batches where all of these are equal (`data.supervision` aside).
        """
        return None

    def losses(self, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        """Named scalar losses of a micro-batch on the method's device; their sum is minimised.

        generator: on the CPU, seeded by recipe, iteration and shard: the source of all that is random
        """
        raise NotImplementedError

    def totals(self, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        """What `losses` would divide by, of a shard of a larger batch, as far as it is known beforehand.

        The engine sums them over all shards of the batch, and `losses` finds them in `batch.totals`. The same
        names on every device in every step. generator: as `losses` gets it
        """
        return {}

    def begin(self) -> None:
        """Called once before the first step, when the first weights are there; not on a resume."""

    def on_step_end(self, iteration: int) -> None:
        """Called after every step of the optimiser; iteration: of that step, from 0."""

    def local_state(self) -> dict[str, Any]:
        """What a resume must restore of this process beside weights and buffers: tensors and plain types."""
        return {}

    def load_local_state(self, state: dict[str, Any]) -> None:
        """Restore what `local_state` returned."""

    def parameter_groups(self, schedule: ScheduleSpec) -> list[dict[str, Any]]:
        """Optimiser groups of the trainable parameters: norms and position tables without weight decay.

        A group may carry `lr_scale`, by which the schedule's learning rate is multiplied (1 when absent):
        that of a backbone's is `schedule.backbone_factor`.
        """
        plain = {id(p) for name, p in self.named_parameters() if name.endswith(TABLES)}
        slow = set()
        for module in self.modules():
            if isinstance(module, UNDECAYED):
                plain |= {id(parameter) for parameter in module.parameters(recurse=False)}
            if isinstance(module, Normalised):
                slow |= {id(parameter) for parameter in module.body.parameters()}
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for scale in (1.0, schedule.backbone_factor):
            groups |= {(scale, schedule.weight_decay): [], (scale, 0.0): []}
        for parameter in self.parameters():
            if parameter.requires_grad:
                scale = schedule.backbone_factor if id(parameter) in slow else 1.0
                groups[scale, 0.0 if id(parameter) in plain else schedule.weight_decay].append(parameter)
        return [
            {"params": parameters, "weight_decay": decay, "lr_scale": scale}
            for (scale, decay), parameters in groups.items()
            if parameters
        ]

    def towers(self) -> list[nn.Module]:
        """What `schedule.compile` compiles: backbone and heads, of those that are called in every step.

        They take and give tensors, and do nothing else.
        """
        return []

    def keep_features(self, folder: Path) -> None:
        """Keep what frozen backbones say of images in a folder, where it is found again."""
        for module in self.modules():
            if isinstance(module, FrozenStages):
                module.keep(folder)

    # Prediction, in evaluation mode and without gradients

    def samples(self, root: Root, rank: int = 0, world: int = 1) -> Iterator[Memo]:
        """Every world-th evaluation image from the rank-th on, in id order, as `predict` takes it."""
        return eval_samples(self.recipe, root, rank, world)

    def training_samples(self, root: Root, pictures: Sequence[Picture]) -> Iterator[Memo]:
        """Training pictures as `predict` takes them, for masks that another network learns.

        Raises WsisError where the method makes none.
        """
        raise WsisError(f"method '{self.recipe.method}' makes no masks of training images")

    def image_sample(self, image: np.ndarray, id: int) -> Memo:
        """An image without annotations, h x w x 3 uint8, as `predict` takes it.

        Raises WsisError where the method needs more than the image.
        """
        return image_sample(self.recipe.data, image, id)

    def box_sample(self, image: np.ndarray, id: int, boxes: np.ndarray, labels: np.ndarray) -> BoxSample:
        """An image (h x w x 3 uint8) with boxes that are to be filled, as `fill` takes it; numbered from 1.

        boxes: n x 4 float32; labels: n int64, -1 where a class is not known
        """
        ids = list(range(1, len(boxes) + 1))
        return BoxSample(image_tensor(image), torch.from_numpy(boxes), torch.from_numpy(labels), ids, id)

    def predict(self, samples: Sequence[Any]) -> list[Instances]:
        """The instances of each sample, best first, in the frame of the original image.

        samples: have `id` and `image` (3 x H x W uint8, on the CPU)
        """
        raise NotImplementedError

    def fill(self, samples: Sequence[BoxSample]) -> list[list[BoxMask]]:
        """A mask for each box of each sample, in their order, and nothing of it outside the box.

        It is empty where a box has no area inside the image. Raises WsisError where the method can't.
        """
        raise WsisError(f"method '{self.recipe.method}' gives no masks to boxes")

    def calibrate(self, root: Root) -> dict[str, Any]:
        """Choose settings of the predictions, once the training is over; called on every process.

        Returns what train.json says of it.
        """
        return {}

    def chosen(self) -> dict[str, Any]:
        """What `calibrate` chose, as JSON: it decides the predictions together with the weights."""
        return {}

    def restore(self, folder: Path) -> None:
        """Read what `calibrate` chose for the finished run of `folder`."""

    def remark(self) -> str:
        """A sentence about the predicted masks, for the log; '' for none."""
        return ""
