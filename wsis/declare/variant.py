"""What `variant` means: values of the recipe keys that it governs, by section.

paper: the equations; released: what the official code does. Letters and numbers are those of errata.yaml.
"""

VARIANT = {
    # B2, B8: head channels 16 and proposals as in CondInst; B3 to B5: Eqs. 3, 5, 8 as written.
    "paper": {
        "model": {"mask_channels": 16, "head_channels": 16},
        "loss": {"average": "instances", "proposals": "random", "max_proposals": 500},
        "pairwise": {"tau": 0.1, "edges": "any", "normalise": "edges", "colour": "image"},
        "sim": {
            "mu": 5.0, "prototype_norm": "channels", "assign": "argmax", "pixels": "pseudo",
            "tau_low": 0.3, "tau_high": 0.7, "adaptive": False, "outside": "background",
            "mask_loss": "bce+dice", "average": "positives", "lambda_pseudo": 0.5, "lambda_ramp": 0,
            "affinity": "colour", "momentum": "copy", "bank": 100, "aliases": False, "share": 0.25,
            "replacement": False, "power": 1.0, "paste_mask": "pseudo", "paste_average": "pasted",
            "paste_boxes": "source", "composites": False, "visible": 0.1,
        },
    },
    "released": {
        "model": {"mask_channels": 16, "head_channels": 8},
        "loss": {"average": "locations", "proposals": "topk", "max_proposals": 64},
        "pairwise": {"tau": 0.3, "edges": "centre", "normalise": "supervised", "colour": "pooled"},
        "sim": {
            "mu": 0.0, "prototype_norm": "prototypes", "assign": "sample", "pixels": "instance",
            "tau_low": 0.4, "tau_high": 0.8, "adaptive": True, "outside": "ignored",
            "mask_loss": "focal", "average": "pooled", "lambda_pseudo": 0.3, "lambda_ramp": 270000,
            "affinity": "colour-feature", "momentum": "released", "bank": 50, "aliases": True, "share": 0.5,
            "replacement": True, "power": 3.0, "paste_mask": "instance", "paste_average": "all",
            "paste_boxes": "tight", "composites": True, "visible": 0.0,
        },
    },
}  # fmt: skip
