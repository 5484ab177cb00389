"""What becomes of a network's masks on their way to a Mask R-CNN, as sheets of pictures: BoxCaseg's Figure 5.

Shapes: h x w image, N objects of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from pycocotools import mask as rle
from torch import nn

from wsis.data.annotations import Picture
from wsis.data.transforms import read_image
from wsis.declare.specs.parents import ProxySpec
from wsis.evaluation.class_agnostic import paired_ious
from wsis.evaluation.rle import truth_rle
from wsis.methods.boxcaseg.box_masks import predict_boxes
from wsis.methods.fill import object_samples
from wsis.pictures import canvas
from wsis.pictures.choice import contested
from wsis.pictures.grid import Box, Key, Row, Sheet, Tile, wrapped
from wsis.pictures.subject import Subject
from wsis.proxy.agreement import agreements, dropped
from wsis.proxy.annotations import ProxyStats, proxy_annotations
from wsis.proxy.merge import merge

PROXIES, COLUMNS = 12, 4  # training images
SEEN = 100  # among which they are looked for
WINNER = {  # of contested pixels: in a heading, in a sentence
    "box": ("smaller box wins", "the object with the smaller box"),
    "mask": ("smaller mask wins", "the object with the smaller mask"),
    "larger": ("larger box wins", "the object with the larger box"),
    "random": ("at random", "one of them at random"),
}
KEYS = [
    Key("an object's mask, and its agreement with the box", canvas.OBJECTS[:4]),
    Key("dropped: a box without a mask", [canvas.INK], dashed=True),
]


@dataclass
class Masks:
    """One image's objects and their masks, N x h x w bool. agreement: N, of merged ones; kept: N bool.

    raw, truth, and the IoUs of merged and truth (N) are None where they aren't shown.
    """

    name: str
    image: np.ndarray
    boxes: np.ndarray
    merged: np.ndarray
    agreement: np.ndarray
    kept: np.ndarray
    raw: np.ndarray | None = None
    truth: np.ndarray | None = None
    ious: np.ndarray | None = None


def draw(subject: Subject) -> list[Sheet]:
    """Masks of given boxes, merged and dropped, of evaluation images; the proxy masks of training images."""
    (method,) = subject.networks.values()
    rules = subject.recipe.proxy
    pictures = contested(subject.pictures)
    evaluated = [image_masks(method, p, rules, f"image {number}") for number, p in enumerate(pictures, 1)]
    return [masks_sheet(rules, evaluated), proxies_sheet(rules, subject.proxy, proxy_masks(subject, rules))]


def image_masks(method: nn.Module, picture: Picture, rules: ProxySpec, name: str) -> Masks:
    """All objects of a picture with their raw, merged and true masks."""
    (sample,) = object_samples([picture])
    objects = [instance for instance in picture.instances if not instance.crowd]
    raw = [mask.rle for mask in predict_boxes(method, [sample], method.spec)[0]]
    boxes = np.array([instance.box for instance in objects])
    bboxes = np.hstack([boxes[:, :2], (boxes[:, 2:] - boxes[:, :2]).clip(min=0)])
    rng = np.random.default_rng([method.recipe.seed, picture.id]) if rules.order == "random" else None
    merged = merge(raw, bboxes, rules.order, rng) if rules.merge else raw
    agreement = agreements(merged, bboxes, rules.agreement)
    size = picture.height, picture.width
    outlines = [truth_rle(instance.segmentation, size) for instance in objects]
    return Masks(
        name,
        sample.image.permute(1, 2, 0).numpy(),
        sample.boxes.numpy(),
        _decoded(merged, size),
        agreement,
        ~dropped(agreement, rules.drop),
        _decoded(raw, size),
        _decoded(outlines, size),
        paired_ious(merged, outlines),
    )


def proxy_masks(subject: Subject, rules: ProxySpec) -> list[Masks]:
    """The first training images of two to six objects with the masks that are trained on; then others."""
    first = {image["image_id"]: image for image in islice(subject.masks, SEEN)}
    pictures = [picture for picture in subject.root.train if picture.id in first]
    pictures = [p for p in pictures if 2 <= len(p.instances) <= 6] or pictures
    images = []
    for picture in pictures[:PROXIES]:
        learnt = proxy_annotations(first[picture.id], rules, ProxyStats(), subject.recipe.seed)
        entries = {annotation["id"]: annotation for annotation in learnt}
        objects = [entries[instance.id] for instance in picture.instances]
        size = picture.height, picture.width
        empty = rle.encode(np.zeros(size, np.uint8, order="F"))
        images.append(
            Masks(
                f"image {picture.id}",
                read_image(picture.path, *size),
                np.array([instance.box for instance in picture.instances]),
                _decoded([a.get("segmentation", empty) for a in objects], size),
                np.array([a["agreement"] for a in objects]),
                np.array(["segmentation" in a for a in objects]),
            )
        )
    return images


def _decoded(masks: Sequence[dict], size: tuple[int, int]) -> np.ndarray:
    """N RLEs -> N x h x w bool."""
    return np.stack([rle.decode(mask).astype(bool) for mask in masks]).reshape(-1, *size)


def boxed(pixels: np.ndarray, boxes: np.ndarray, values: np.ndarray | None = None) -> Tile:
    """Pixels with all boxes in the objects' colours, and a number at each."""
    words = [f"{value:.2f}" for value in values] if values is not None else [""] * len(boxes)
    marks = [Box(box, canvas.object_colour(i), text=words[i]) for i, box in enumerate(boxes)]
    return Tile(pixels, None, marks)


def kept_masks(image: Masks) -> Tile:
    """Kept masks in colour; a dropped one is the dashed box. Each with its agreement."""
    marks = [
        Box(box, canvas.object_colour(i), 1, text=f"{value:.2f}")
        if kept
        else Box(box, canvas.WHITE, dashed=True, text=f"{value:.2f}")
        for i, (box, kept, value) in enumerate(zip(image.boxes, image.kept, image.agreement, strict=True))
    ]
    return Tile(canvas.tinted(image.image, image.merged & image.kept[:, None, None]), None, marks)


def masks_sheet(rules: ProxySpec, images: Sequence[Masks]) -> Sheet:
    """Figure 5: boxes, raw masks, merged ones, what is kept of them, and the ground truth; a row an image."""
    count, lost = sum(len(i.kept) for i in images), sum(int((~i.kept).sum()) for i in images)
    merged = f"contested pixels go to {WINNER[rules.order][1]}" if rules.merge else "here nothing is merged"
    return Sheet(
        name="masks",
        title="Masks of given boxes, merged and dropped",
        rows=[
            Row(
                [
                    boxed(i.image, i.boxes),
                    Tile(canvas.tinted(i.image, i.raw)),
                    Tile(canvas.tinted(i.image, i.merged)),
                    kept_masks(i),
                    boxed(canvas.tinted(i.image, i.truth), i.boxes, i.ious),
                ],
                i.name,
            )
            for i in images
        ],
        headings=[
            ("image", "boxes"),
            ("raw masks", "contested pixels white"),
            ("merged", WINNER[rules.order][0] if rules.merge else "off"),
            ("proxy masks", "agreement with the box"),
            ("ground truth", "never seen; IoU"),
        ],
        legend=KEYS,
        caption=(
            f"As in Figure 5: the {count} objects of {len(images)} evaluation images, chosen by their boxes"
            " alone, those with overlapping objects first. Raw masks of the given boxes; merged ones,"
            f" {merged}; what is kept of them, with the agreement of mask and box; the ground truth, with the"
            f" merged masks' IoU. {_drop(rules)} {lost} of these masks are dropped."
        ),
        alt=f"Boxes, raw, merged, kept and true masks of {len(images)} images",
        absent="no evaluation image has an object",
    )


def proxies_sheet(rules: ProxySpec, proxy: dict[str, Any], images: Sequence[Masks]) -> Sheet:
    """Training images with their proxy masks. proxy: what the Mask R-CNN's train.json says of them."""
    return Sheet(
        name="proxies",
        title="Proxy masks of training images",
        rows=wrapped([kept_masks(image) for image in images], COLUMNS),
        headings=[],
        legend=KEYS,
        caption=(
            f"{len(images)} of the first training images, as the Mask R-CNN gets them. {_drop(rules)} Of all"
            f" {proxy['objects']} training objects {proxy['kept']} keep their masks"
            f" (drop rate {100 * (proxy['drop_rate'] or 0):.1f} %)."
        ),
        alt=f"Proxy masks and boxes without masks of {len(images)} training images",
        absent="the first training images have no object",
    )


def _drop(rules: ProxySpec) -> str:
    if not rules.drop:
        return "No mask is dropped."
    rule = " by the code's count of pixels" if rules.agreement == "plus_one" else ""
    return f"A mask is dropped unless its agreement{rule} is above {rules.drop:g}; its box stays."
