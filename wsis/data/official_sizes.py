"""How many images the data sets of the papers have, and whether a root has as many."""

from __future__ import annotations

from wsis.data.roots import Root

OFFICIAL = {"coco": {"train2017": 118287, "val2017": 5000}, "voc": {"train_aug": 10582, "val": 1449}}
OFFICIAL_SALIENT = 7991  # DUTS-Single


def official(root: Root) -> dict[str, tuple[int, int, bool]]:
    """Split -> (images listed, official count, equal) for the splits whose official size is known."""
    counts = {}
    for split, count in OFFICIAL.get(root.dataset, {}).items():
        if split in (root.recipe.data.train, root.recipe.data.eval):
            listed = len(root.image_ids(split))
            counts[split] = (listed, count, listed == count)
    return counts
