"""detectron2's catalogs, trainer and predictor for the project's data and methods; docs/detectron2.md.

catalog.py       data roots in DatasetCatalog, with the masks hidden that a recipe hides
architecture.py  methods as a META_ARCHITECTURE
keys.py          a recipe as detectron2's configuration
folder.py        a run as a folder for DefaultPredictor

detectron2 is imported when one of these functions is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wsis.declare.provider import ABSENT, installed
from wsis.errors import WsisError

if TYPE_CHECKING:
    from detectron2.config import CfgNode

    from wsis.declare.recipe import Recipe


def register(root: str | Path, split: str, recipe: Recipe) -> str:
    """Put a split of a data root into DatasetCatalog; returns its name there.

    Of the recipe's training split, masks that its supervision hides are not there. Raises WsisError for a
    split that is not the recipe's, and where detectron2 is absent.
    """
    _needed()
    from wsis.detectron2.catalog import register_split

    return register_split(Path(root), split, recipe)


def configuration(recipe: Recipe, num_classes: int) -> CfgNode:
    """A configuration with which detectron2's trainer trains a recipe. Raises WsisError where it can't."""
    _needed()
    from wsis.detectron2.keys import of_recipe

    return of_recipe(recipe, num_classes)


def load(folder: str | Path) -> CfgNode:
    """The configuration of a folder that `wsis export --detectron2` wrote, for DefaultPredictor(cfg).

    Its class names are registered, so that Visualizer finds them under cfg.DATASETS.TEST[0].
    """
    _needed()
    from wsis.detectron2.folder import load_exported

    return load_exported(Path(folder))


def export(run: str | Path, out: str | Path) -> Path:
    """Write a finished run as a folder for `load`; returns it."""
    _needed()
    from wsis.detectron2.folder import export_run

    return export_run(Path(run), Path(out))


def _needed() -> None:
    if not installed():
        raise WsisError(ABSENT)
