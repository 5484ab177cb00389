"""What a method is given to draw pictures of a trained run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from wsis.data.annotations import Picture
from wsis.data.roots import Root, open_root
from wsis.data.salient import SalientRoot
from wsis.declare.recipe import Recipe


@dataclass
class Subject:
    """A trained run, and what its pictures are drawn from.

    recipe:   the run's, settled
    root:     its data root; salient: its salient images, None where it trains on none
    pictures: evaluation pictures with masks, to choose from
    networks: by their runs' folders: the run beside it, and the run itself; of a run that is trained on
              masks, the one that made them
    masks:    the raw masks that it is trained on (`read_proxies`); proxy: what its train.json says of them
    """

    recipe: Recipe
    root: Root
    salient: SalientRoot | None
    pictures: list[Picture]
    networks: dict[Path, nn.Module]
    masks: Iterable[dict[str, Any]] = ()
    proxy: dict[str, Any] = field(default_factory=dict)


def pictures_with_masks(recipe: Recipe, root: Root) -> list[Picture]:
    """The evaluation pictures of a recipe that trains on boxes, with their masks."""
    data = recipe.data.model_copy(
        update={"train": recipe.data.eval, "train_images": None, "supervision": "masks"}
    )
    masked = open_root(recipe.model_copy(update={"data": data}), root.path)
    evaluated = {picture.id for picture in root.eval}
    return [picture for picture in masked.train if picture.id in evaluated]
