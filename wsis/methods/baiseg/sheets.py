"""Sheets of pictures that show how BAISeg gets from boundaries to instances. Arrays in, sheets out.

Shapes: h x w pixels of an image, M annotated objects, N instances. Boxes are xyxy pixels, half-open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from wsis.data.voc import VOID
from wsis.pictures.canvas import EMPTY, INK, OBJECTS, Window, faded, heat
from wsis.pictures.grid import WIDTH, Bar, Box, Key, Row, Sheet, Tile

EXTRA = [(150, 150, 152), (92, 92, 96), (198, 198, 196)]  # instances that are no object's best match
APART, JOINED = (0, 158, 115), (213, 70, 20)  # of a pair
OTHER_CLASSES = (206, 206, 202)  # where the semantic map has an object of any class
LEAST = 0.001  # response at the lower end of the colours; they are logarithmic
STRONG, WEAK = 0.9, 0.45  # share of a colour on pixels of a seed, and on those flooded from it
ABSENT = "no evaluation image has touching objects of one class that are large enough to be seen"
OBJECT_KEYS = [
    Key("an object, and the instance that matches it best (one each)", OBJECTS[:4]),
    Key("an instance that matches none", EXTRA),
]


@dataclass
class Seen:
    """What a trained run makes of an image.

    boundary: h x w float32 in [0, 1] and lines: h x w bool; None: the run extracts without a boundary map
    semantic: h x w uint8, 0 background; seeds, regions: h x w int32, label map before and after watershed
    region_instances: what instance a region becomes, (1 + regions) int, -1 none
    instances: h x w int32, 0 none, else position + 1; boxes: N x 4; scores: N
    objects: N int, the annotated object that an instance matches best, -1 none; ious: M, of those matches
    apart: whether the pair of touching objects is separated (`wsis.methods.baiseg.boundary.separated`)
    """

    boundary: np.ndarray | None
    lines: np.ndarray | None
    semantic: np.ndarray
    seeds: np.ndarray
    regions: np.ndarray
    region_instances: np.ndarray
    instances: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    objects: np.ndarray
    ious: np.ndarray
    apart: bool


@dataclass
class Contact:
    """An image with two touching objects of one class, its first two, and what one or two runs make of it.

    image: h x w x 3 uint8; window: what is shown of it; truth: h x w int32, 0 none, else the object's
    position + 1; boxes: M x 4
    """

    name: str
    kind: str
    image: np.ndarray
    window: Window
    truth: np.ndarray
    boxes: np.ndarray
    seen: list[Seen]


def steps_sheet(contacts: Sequence[Contact], caption: str) -> Sheet:
    """Boundary map, thinned boundary, label map, instances and the annotated objects; a row an image."""

    def row(contact: Contact) -> Row:
        (seen,) = contact.seen
        return Row(
            [
                Tile(contact.image, contact.window),
                Tile(boundary_map(contact, seen), contact.window),
                Tile(_lines(contact, seen), contact.window),
                Tile(label_map(seen), contact.window),
                instances(contact, seen),
                truth(contact, seen.ious),
            ],
            contact.kind,
            contact.name,
        )

    return Sheet(
        name="steps",
        title="From boundaries to instances",
        rows=[row(contact) for contact in contacts],
        headings=[
            ("image", ""),
            ("boundary map", "probability, log scale"),
            ("thinned", "above the threshold"),
            ("label map", "seeds; flooded: pale"),
            ("instances", "score"),
            ("ground truth", "never seen; IoU"),
        ],
        legend=[
            Bar(f"{LEAST:g}", "1"),
            Key("boundary pixel", [INK]),
            Key("an object by the semantic map, of any class", [OTHER_CLASSES]),
            *OBJECT_KEYS,
        ],
        caption=caption,
        alt=f"Boundary maps, thinned boundaries, label maps and instances of {len(contacts)} images",
        absent=ABSENT,
    )


def contrast_sheet(contacts: Sequence[Contact], caption: str) -> Sheet:
    """Boundary map and instances of two runs, framed by whether they tell the pair apart; a row an image."""
    rows = []
    for contact in contacts:
        tiles = [Tile(contact.image, contact.window)]
        for seen in contact.seen:
            framed = instances(contact, seen)
            framed.frame = APART if seen.apart else JOINED
            tiles += [Tile(boundary_map(contact, seen), contact.window), framed]
        rows.append(Row([*tiles, truth(contact)], contact.kind, contact.name))
    names = ("without PPC", "with PPC")
    return Sheet(
        name="ppc",
        title="Touching objects of one class before and after PPC",
        rows=rows,
        headings=[
            ("image", ""),
            *((what, name) for name in names for what in ("boundary map", "instances")),
            ("ground truth", "never seen"),
        ],
        legend=[
            Bar(f"{LEAST:g}", "1"),
            Key("green frame: the two touching objects are told apart", [APART]),
            Key("red frame: they are not", [JOINED]),
            *OBJECT_KEYS,
        ],
        caption=caption,
        alt=f"Boundary maps and instances of {len(contacts)} images without and with PPC",
        absent=ABSENT,
    )


def colours(objects: np.ndarray) -> np.ndarray:
    """N positions of objects, -1 for none -> N x 3 uint8."""
    named, extra = np.array(OBJECTS, np.uint8), np.array(EXTRA, np.uint8)
    none = objects < 0
    order = np.cumsum(none) - 1  # neighbours among those without an object differ
    return np.where(none[:, None], extra[order % len(extra)], named[objects % len(named)])


def boundary_map(contact: Contact, seen: Seen) -> np.ndarray:
    if seen.boundary is None:
        return np.full_like(contact.image, OTHER_CLASSES)
    return heat(np.log10(np.maximum(seen.boundary, LEAST)), np.log10(LEAST), 0)


def _lines(contact: Contact, seen: Seen) -> np.ndarray:
    """Boundary pixels on what the semantic map calls an object. Lines stay visible in small pictures."""
    pixels = np.full_like(contact.image, EMPTY)
    pixels[(seen.semantic > 0) & (seen.semantic != VOID)] = OTHER_CLASSES
    if seen.lines is not None:
        x0, y0, x1, y1 = contact.window
        width = max(1, 6 * max(x1 - x0, y1 - y0) // WIDTH)  # six tiles a row
        pixels[cv2.dilate(seen.lines.astype(np.uint8), np.ones((width, width), np.uint8)) > 0] = INK
    return pixels


def label_map(seen: Seen) -> np.ndarray:
    """h x w x 3 uint8: regions that become instances in colour, others in none; seeds strong."""
    of_region = np.full((len(seen.region_instances), 3), EMPTY, np.float32)
    real = seen.region_instances >= 0
    of_region[real] = colours(seen.objects)[seen.region_instances[real]]
    share = np.where(seen.seeds > 0, STRONG, WEAK)[..., None]
    ground = np.array(EMPTY, np.float32)
    return (share * of_region[seen.regions] + (1 - share) * ground).round().astype(np.uint8)


def instances(contact: Contact, seen: Seen) -> Tile:
    """Instances in their colours; the scores of those that match one of the first objects."""
    return _objects(contact, seen.instances, seen.objects, seen.boxes, seen.scores)


def truth(contact: Contact, ious: np.ndarray | None = None) -> Tile:
    return _objects(contact, contact.truth, np.arange(len(contact.boxes)), contact.boxes, ious)


def _objects(
    contact: Contact, labels: np.ndarray, objects: np.ndarray, boxes: np.ndarray, values: np.ndarray | None
) -> Tile:
    """h x w positions + 1 as colours over the image; numbers at those with a colour of their own."""
    of_object = colours(objects)
    pixels = faded(contact.image)
    inside = labels > 0
    pixels[inside] = (0.35 * pixels[inside] + 0.65 * of_object[labels[inside] - 1]).round()
    named = np.flatnonzero((objects >= 0) & (objects < len(OBJECTS))) if values is not None else ()
    words = [Box(boxes[i], tuple(of_object[i].tolist()), 0, text=f"{values[i]:.2f}") for i in named]
    return Tile(pixels, contact.window, words)
