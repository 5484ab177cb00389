"""What becomes of a network's masks on their way to a Mask R-CNN, as sheets of pictures: BoxCaseg's Figure 5.

Shapes: h x w image, N objects of an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle
from torch import nn

from wsis.data.roots import Instance, Picture, Root
from wsis.data.transforms import decode_mask, read_image
from wsis.evaluation.class_agnostic import paired_ious
from wsis.methods.boxcaseg.box_masks import predict_boxes
from wsis.methods.boxcaseg.patches import object_samples
from wsis.methods.boxcaseg.sheets import ProxyRow, masks_sheet, proxies_sheet
from wsis.pictures.canvas import Sheet, save_sheets
from wsis.pictures.choice import contested
from wsis.proxy.agreement import agreements, dropped
from wsis.proxy.annotations import ProxyRules, ProxyStats, proxy_annotations
from wsis.proxy.merge import merge

PROXIES = 12  # training images
SEEN = 100  # among which they are looked for
WINNER = {  # of contested pixels: in a heading, in a sentence
    "box": ("smaller box wins", "the object with the smaller box"),
    "mask": ("smaller mask wins", "the object with the smaller mask"),
    "larger": ("larger box wins", "the object with the larger box"),
    "random": ("at random", "one of them at random"),
}


def draw_stage2(
    method: nn.Module,
    root: Root,
    raw: Iterable[dict[str, Any]],
    rules: ProxyRules,
    proxy: dict[str, Any],
    pictures: Sequence[Picture],
    folder: Path,
    whence: str,
) -> list[dict[str, Any]]:
    """Masks of given boxes, merged and dropped, of evaluation images; the proxy masks of training images.

    method:   the trained BoxCaseg that made the proxy masks
    root:     the Mask R-CNN's data root
    raw:      the raw proxy masks of its training images (`read_proxies`); only the first SEEN are read
    rules:    how they are merged and dropped
    proxy:    what the Mask R-CNN's train.json says of them
    pictures: evaluation pictures with masks, to choose from
    """
    method.eval()
    masks = [
        mask_row(method, picture, rules, f"image {number}")
        for number, picture in enumerate(contested(pictures), 1)
    ]
    proxies = proxy_rows(raw, root, rules)
    winner = WINNER[rules.order][0] if rules.merge else "off"
    about_masks, about_proxies = partial(_about_masks, rules), partial(_about_proxies, rules, proxy)
    sheets = [
        Sheet(
            "masks",
            "Masks of given boxes, merged and dropped",
            masks,
            partial(masks_sheet, winner),
            about_masks,
            "no evaluation image has an object",
        ),
        Sheet(
            "proxies",
            "Proxy masks of training images",
            proxies,
            proxies_sheet,
            about_proxies,
            "the first training images have no object",
        ),
    ]
    return save_sheets(sheets, folder, whence)


def mask_row(method: nn.Module, picture: Picture, rules: ProxyRules, name: str) -> ProxyRow:
    """All objects of a picture with their raw, merged and true masks."""
    (sample,) = object_samples([picture])
    objects = [instance for instance in picture.instances if not instance.crowd]
    raw = [made.rle for made in predict_boxes(method, [sample], method.spec)[0]]
    boxes = sample.boxes.numpy()
    bboxes = np.array([_xywh(instance) for instance in objects])
    rng = np.random.default_rng([rules.seed, picture.id]) if rules.order == "random" else None
    merged = merge(raw, bboxes, rules.order, rng) if rules.merge else raw
    agreement = agreements(merged, bboxes, rules.agreement)
    size = picture.height, picture.width
    truth = np.stack([decode_mask(instance.segmentation, *size) for instance in objects])
    outlines = list(rle.encode(np.asfortranarray(truth.transpose(1, 2, 0).astype(np.uint8))))
    return ProxyRow(
        name,
        sample.image.permute(1, 2, 0).numpy(),
        boxes,
        _decoded(merged, size),
        agreement,
        ~dropped(agreement, rules.drop),
        _decoded(raw, size),
        truth,
        paired_ious(merged, outlines),
    )


def proxy_rows(raw: Iterable[dict[str, Any]], root: Root, rules: ProxyRules) -> list[ProxyRow]:
    """The first training images of two to six objects with the masks that are trained on; then others."""
    first = {image["image_id"]: image for image in islice(raw, SEEN)}
    pictures = [picture for picture in root.train if picture.id in first]
    pictures = [p for p in pictures if 2 <= len(p.instances) <= 6] or pictures
    rows = []
    for picture in pictures[:PROXIES]:
        entries = {a["id"]: a for a in proxy_annotations(first[picture.id], rules, ProxyStats())}
        own = [entries[instance.id] for instance in picture.instances]
        size = picture.height, picture.width
        empty = rle.encode(np.zeros(size, np.uint8, order="F"))
        rows.append(
            ProxyRow(
                f"image {picture.id}",
                read_image(picture.path, *size),
                np.array([instance.box for instance in picture.instances]),
                _decoded([a.get("segmentation", empty) for a in own], size),
                np.array([a["agreement"] for a in own]),
                np.array(["segmentation" in a for a in own]),
            )
        )
    return rows


def _xywh(instance: Instance) -> tuple[float, ...]:
    x0, y0, x1, y1 = instance.box
    return x0, y0, max(x1 - x0, 0.0), max(y1 - y0, 0.0)


def _decoded(masks: Sequence[dict], size: tuple[int, int]) -> np.ndarray:
    """N RLEs -> N x h x w bool."""
    return np.stack([rle.decode(mask).astype(bool) for mask in masks]).reshape(-1, *size)


def _about_masks(rules: ProxyRules, rows: list[ProxyRow]) -> tuple[str, str]:
    """Caption and alternative text."""
    count, lost = sum(len(row.kept) for row in rows), sum(int((~row.kept).sum()) for row in rows)
    merged = f"contested pixels go to {WINNER[rules.order][1]}" if rules.merge else "here nothing is merged"
    caption = (
        f"As in Figure 5: the {count} objects of {len(rows)} evaluation images, chosen by their boxes alone,"
        f" those with overlapping objects first. Raw masks of the given boxes; merged ones, {merged}; what is"
        " kept of them, with the agreement of mask and box; the ground truth, with the merged masks' IoU."
        f" {_drop(rules)} {lost} of these masks are dropped."
    )
    return caption, f"Boxes, raw, merged, kept and true masks of {len(rows)} images"


def _about_proxies(rules: ProxyRules, proxy: dict[str, Any], rows: list[ProxyRow]) -> tuple[str, str]:
    caption = (
        f"{len(rows)} of the first training images, as the Mask R-CNN gets them. {_drop(rules)} Of all"
        f" {proxy['objects']} training objects {proxy['kept']} keep their masks"
        f" (drop rate {100 * (proxy['drop_rate'] or 0):.1f} %)."
    )
    return caption, f"Proxy masks and boxes without masks of {len(rows)} training images"


def _drop(rules: ProxyRules) -> str:
    if not rules.drop:
        return "No mask is dropped."
    rule = " by the code's count of pixels" if rules.agreement == "plus_one" else ""
    return f"A mask is dropped unless its agreement{rule} is above {rules.drop:g}; its box stays."
