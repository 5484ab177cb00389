"""A recipe without what other runs made: it learns from what is annotated."""

from __future__ import annotations

from typing import Any


def untaught(tree: dict[str, Any]) -> None:
    """Change a recipe's tree: masks, or semantic maps, of another run become those of the data set."""
    if tree["proxy"] is None:
        return
    tree["proxy"] = None
    if tree["data"]["supervision"] == "proxy":
        tree["data"]["supervision"] = "masks"
    annotated_maps(tree)


def annotated_maps(tree: dict[str, Any]) -> None:
    """Change a recipe's tree: semantic maps of another system become those of the data set."""
    for section in tree.values():
        if isinstance(section, dict) and "train_semantics" in section:
            section["train_semantics"] = "ground_truth"
