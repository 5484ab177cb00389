"""What `variant` means: values of the recipe keys that it governs. Methods add those of their sections.

paper: the equations; released: what the official code does. Letters and numbers are those of errata.yaml.
"""

from __future__ import annotations

from typing import Any

from wsis.methods import info_of

VARIANTS = {
    # B2, B8: head channels 16 and proposals as in CondInst; B3 to B5: Eqs. 3, 5, 8 as written.
    "paper": {
        "model.mask_channels": 16, "model.head_channels": 16, "model.details": "own",
        "loss.average": "instances", "loss.proposals": "random", "loss.max_proposals": 500,
        "loss.pairwise.tau": 0.1, "loss.pairwise.edges": "any", "loss.pairwise.normalise": "edges",
        "loss.pairwise.colour": "image",
    },
    "released": {
        "model.mask_channels": 16, "model.head_channels": 8, "model.details": "official",
        "loss.average": "locations", "loss.proposals": "topk", "loss.max_proposals": 64,
        "loss.pairwise.tau": 0.3, "loss.pairwise.edges": "centre", "loss.pairwise.normalise": "supervised",
        "loss.pairwise.colour": "pooled",
    },
}  # fmt: skip


def governed(method: str, variant: str, backbone: str, head: str) -> dict[str, Any]:
    """Dotted key -> the value that a null there stands for. Tiny networks stand for no code's details."""
    info = info_of(method)
    own = {"model.details": "own"} if backbone.startswith("tiny") else {}
    return {**VARIANTS[variant], **info.variants.get(variant, {}), **info.of_heads.get(head, {}), **own}
