"""A finished run as a folder that detectron2 reads: config.yaml, model.pth and metadata.json.

`wsis.detectron2.load` brings the architecture and the names of classes for DefaultPredictor and Visualizer.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from detectron2.config import CfgNode, get_cfg

from wsis.detectron2.catalog import add_classes
from wsis.detectron2.keys import add_keys, of_recipe
from wsis.engine.checkpoint import save_atomically
from wsis.files import read_keys, write_json, write_text
from wsis.methods.weights import strides
from wsis.trained.model import Model

CONFIG, WEIGHTS, METADATA = "config.yaml", "model.pth", "metadata.json"


def export_run(run: Path, out: Path) -> Path:
    """As `wsis.detectron2.export`."""
    model = Model(run, "cpu")
    cfg = of_recipe(model.recipe, len(model.names))
    cfg.WSIS.STRIDES = [json.dumps(strides(model.method))]
    cfg.MODEL.DEVICE = model.device.type
    state = {f"method.{name}": value for name, value in model.method.state_dict().items()}
    save_atomically({"model": state, "__author__": "wsis"}, out / WEIGHTS)
    ids = {str(id): label for label, id in enumerate(model.categories)}
    metadata = {"name": f"wsis/{model.recipe.id}", "thing_classes": list(model.names), "labels": ids}
    write_json(out / METADATA, metadata)
    write_text(out / CONFIG, cfg.dump())
    return out


def load_exported(folder: Path) -> CfgNode:
    """As `wsis.detectron2.load`."""
    metadata = read_keys(folder / METADATA, "name", "thing_classes")
    cfg = add_keys(get_cfg())
    cfg.merge_from_file(str(folder / CONFIG))
    cfg.MODEL.WEIGHTS = str((folder / WEIGHTS).resolve())
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    cfg.DATASETS.TEST = (metadata["name"],)
    add_classes(metadata["name"], metadata["thing_classes"])
    return cfg
