"""Sheets of pictures that show how BAISeg gets from boundaries to instances. Arrays in, sheets out.

Shapes: h x w pixels of an image, M annotated objects, N instances. Boxes are xyxy pixels, half-open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as masks

from wsis.data.annotations import Picture
from wsis.data.voc import VOID
from wsis.methods.baiseg.boundary import instance_map
from wsis.methods.baiseg.extract.pipeline import Steps
from wsis.methods.baiseg.maps import Maps
from wsis.pictures.canvas import EMPTY, INK, OBJECTS, Window, faded, heat, object_colour, window_around
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

    objects: N int, the annotated object that an instance matches best, -1 none; ious: M, of those matches
    apart:   whether the pair of touching objects is separated (`wsis.methods.baiseg.boundary.separated`)
    """

    maps: Maps
    steps: Steps
    objects: np.ndarray
    ious: np.ndarray
    apart: bool


@dataclass
class Contact:
    """A picture whose first two instances are of one class and touch; crowd regions are left out.

    rles: compressed RLEs of its instances; seen: what one or two runs make of it
    """

    picture: Picture
    rles: list[dict[str, Any]]
    seen: list[Seen] = field(default_factory=list)

    @property
    def image(self) -> np.ndarray:
        return self.seen[0].maps.image

    @property
    def boxes(self) -> np.ndarray:
        """M x 4."""
        return np.array([instance.box for instance in self.picture.instances])

    @property
    def window(self) -> Window:
        """What is shown of the picture: the pair and what lies around it."""
        pair = np.concatenate([self.boxes[:2, :2].min(0), self.boxes[:2, 2:].max(0)])
        return window_around(self.image.shape, pair, factor=1.5, whole=0)


def steps_sheet(contacts: Sequence[Contact], names: Sequence[str], caption: str) -> Sheet:
    """Boundary map, thinned boundary, label map, instances and the annotated objects; a row an image."""
    rows = []
    for contact in contacts:
        (seen,) = contact.seen
        maps = (contact.image, boundary_map(seen), _lines(contact, seen), label_map(seen))
        tiles = [Tile(pixels, contact.window) for pixels in maps]
        rows.append([*tiles, instances(contact, seen), truth(contact, seen.ious)])
    return Sheet(
        name="steps",
        title="From boundaries to instances",
        rows=_named(rows, contacts, names),
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


def contrast_sheet(contacts: Sequence[Contact], names: Sequence[str], caption: str) -> Sheet:
    """Boundary map and instances of two runs, framed by whether they tell the pair apart; a row an image."""
    rows = []
    for contact in contacts:
        tiles = [Tile(contact.image, contact.window)]
        for seen in contact.seen:
            framed = replace(instances(contact, seen), frame=APART if seen.apart else JOINED)
            tiles += [Tile(boundary_map(seen), contact.window), framed]
        rows.append([*tiles, truth(contact)])
    return Sheet(
        name="ppc",
        title="Touching objects of one class before and after PPC",
        rows=_named(rows, contacts, names),
        headings=[
            ("image", ""),
            *((what, f"{how} PPC") for how in ("without", "with") for what in ("boundary map", "instances")),
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


def _named(rows: Sequence[list[Tile]], contacts: Sequence[Contact], names: Sequence[str]) -> list[Row]:
    """names: of the classes."""
    kinds = [names[contact.picture.instances[0].label] for contact in contacts]
    return [Row(tiles, kinds[index], f"image {index + 1}") for index, tiles in enumerate(rows)]


def colours(objects: np.ndarray) -> np.ndarray:
    """N positions of objects, -1 for none -> N x 3 uint8."""
    named, extra = np.array(OBJECTS, np.uint8), np.array(EXTRA, np.uint8)
    none = objects < 0
    order = np.cumsum(none) - 1  # neighbours among those without an object differ
    return np.where(none[:, None], extra[order % len(extra)], named[objects % len(named)])


def boundary_map(seen: Seen) -> np.ndarray:
    """h x w x 3 uint8, like all that follows."""
    if seen.maps.boundary is None:
        return np.full_like(seen.maps.image, OTHER_CLASSES)
    return heat(np.log10(np.maximum(seen.maps.boundary, LEAST)), np.log10(LEAST), 0)


def _lines(contact: Contact, seen: Seen) -> np.ndarray:
    """Boundary pixels on what the semantic map calls an object. Lines stay visible in small pictures."""
    pixels = np.full_like(contact.image, EMPTY)
    pixels[(seen.maps.semantic > 0) & (seen.maps.semantic != VOID)] = OTHER_CLASSES
    if seen.steps.lines is not None:
        x0, y0, x1, y1 = contact.window
        width = max(1, 6 * max(x1 - x0, y1 - y0) // WIDTH)  # six tiles a row
        pixels[cv2.dilate(seen.steps.lines.astype(np.uint8), np.ones((width, width), np.uint8)) > 0] = INK
    return pixels


def label_map(seen: Seen) -> np.ndarray:
    """Regions that become instances in colour, others in none; seeds strong."""
    positions = region_instances(seen.steps)
    of_region = np.full((len(positions), 3), EMPTY, np.float32)
    of_region[positions >= 0] = colours(seen.objects)[positions[positions >= 0]]
    share = np.where(seen.steps.seeds > 0, STRONG, WEAK)[..., None]
    ground = np.array(EMPTY, np.float32)
    return (share * of_region[seen.steps.regions] + (1 - share) * ground).round().astype(np.uint8)


def region_instances(steps: Steps) -> np.ndarray:
    """Position of the instance that a region becomes, by the region's label; -1 for none."""
    positions = np.full(int(steps.regions.max(initial=0)) + 1, -1)
    for position, instance in enumerate(steps.instances):
        inside = np.bincount(steps.regions[masks.decode(instance.mask) > 0], minlength=len(positions))
        inside[0] = 0  # a closing takes in unlabelled pixels
        if inside.any():
            positions[inside.argmax()] = position
    return positions


def instances(contact: Contact, seen: Seen) -> Tile:
    """Instances in their colours; the scores of those that match one of the first objects."""
    extracted = seen.steps.instances
    pixels = _painted(contact.image, [instance.mask for instance in extracted], colours(seen.objects))
    words = [
        Box(instance.box, object_colour(place), 0, text=f"{instance.score:.2f}")
        for instance, place in zip(extracted, seen.objects.tolist(), strict=True)
        if 0 <= place < len(OBJECTS)
    ]
    return Tile(pixels, contact.window, words)


def truth(contact: Contact, ious: Sequence[float] = ()) -> Tile:
    """The annotated objects in their colours, and the IoUs of the first ones."""
    pixels = _painted(contact.image, contact.rles, colours(np.arange(len(contact.rles))))
    first = zip(contact.boxes, ious, OBJECTS, strict=False)
    words = [Box(box, colour, 0, text=f"{iou:.2f}") for box, iou, colour in first]
    return Tile(pixels, contact.window, words)


def _painted(image: np.ndarray, rles: Sequence[dict], of_object: np.ndarray) -> np.ndarray:
    """The image under masks of N x 3 colours."""
    labels, pixels = instance_map(rles, image.shape[:2]), faded(image)
    inside = labels > 0
    pixels[inside] = (0.35 * pixels[inside] + 0.65 * of_object[labels[inside] - 1]).round()
    return pixels
