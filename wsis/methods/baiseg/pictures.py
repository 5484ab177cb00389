"""What a trained BAISeg makes of images with touching objects of one class, as sheets of pictures.

Shapes: h x w pixels of an image, M annotated objects, N predicted instances.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as masks
from scipy.optimize import linear_sum_assignment
from torch import nn

from wsis.data.roots import Picture, Root
from wsis.data.structures import SemanticSample
from wsis.evaluation.rle import truth_rle
from wsis.methods.baiseg.batches import semantic_samples
from wsis.methods.baiseg.boundary import instance_map, separated
from wsis.methods.baiseg.extract.pipeline import Extraction, Steps, extract_steps
from wsis.methods.baiseg.semantic import BAND
from wsis.methods.baiseg.sheets import Contact, Seen, contrast_sheet, steps_sheet
from wsis.methods.baiseg.threshold import restore_threshold
from wsis.pictures.canvas import window_around
from wsis.pictures.choice import FEW, SMALLEST
from wsis.pictures.grid import Sheet
from wsis.pictures.subject import Subject

IMAGES, PAIRS = 6, 8  # of the sheet of one run, and of that of two
LONG = 1 / 12  # of the short side: shorter contacts are hard to see
COLOURS = (
    "The pair is orange and blue. An object and the instance that matches it best (by IoU, one to one) have"
    " one colour; greys are instances that match none."
)


@dataclass
class Touching:
    """A picture whose first two instances are of one class and touch; crowd regions are left out.

    rles: compressed RLEs of its instances
    """

    picture: Picture
    rles: list[dict[str, Any]]


def draw_steps(subject: Subject) -> list[Sheet]:
    """The steps of the extraction, from boundary map to instances."""
    contacts = _contacts(subject, IMAGES)
    (method,) = subject.networks.values()
    caption = (
        f"{_chosen(contacts)} {_boundaries(method)} {_seeds(method.extraction)} Told apart:"
        f" {_apart(contacts, 0)} of the {len(contacts)} pairs. {COLOURS}"
    )
    return [steps_sheet(contacts, caption)]


def draw_contrast(subject: Subject) -> list[Sheet]:
    """Touching objects before and after PPC."""
    contacts = _contacts(subject, PAIRS)
    thresholds = " and ".join(f"{method.extraction.threshold:g}" for method in subject.networks.values())
    caption = (
        f"{_chosen(contacts)} The same images by two networks, trained without and with the pixel contrast"
        f" (PPC, Eq. 6); boundary thresholds {thresholds}. A frame is green where the two touching objects"
        " are told apart: each has a best instance of its own, which covers less than half of the other; else"
        f" it is red. Told apart: {_apart(contacts, 0)} of these {len(contacts)} pairs without PPC,"
        f" {_apart(contacts, 1)} with it. {COLOURS}"
    )
    return [contrast_sheet(contacts, caption)]


def _contacts(subject: Subject, count: int) -> list[Contact]:
    for folder, method in subject.networks.items():
        restore_threshold(method, folder)
    images = touching(subject.pictures, count, gap(subject.root))
    return contact_rows(list(subject.networks.values()), subject.root, images)


def _apart(contacts: list[Contact], run: int) -> int:
    return sum(contact.seen[run].apart for contact in contacts)


def gap(root: Root) -> int:
    """Pixels from an object to one that it touches: VOC's masks leave a band of void between the two."""
    return int(2 * BAND) + 1 if root.dataset == "voc" else 1


def touching(pictures: Sequence[Picture], count: int, gap: int) -> list[Touching]:
    """The first pictures with two objects of one class that touch along a line which can be seen.

    Those with at most FEW objects come first. In each the pair with the longest contact, among objects that
    aren't too small to be seen, comes first, then the largest. No prediction has a say in this.
    """
    tiers: list[list[Touching]] = [[], []]
    for picture in pictures:
        objects = [i for i in picture.instances if not i.crowd]
        rles = [truth_rle(i.segmentation, (picture.height, picture.width)) for i in objects]
        pair = _longest(picture, objects, rles, gap)
        if pair is None:
            continue
        rest = [i for i in np.argsort(-masks.area(rles).astype(int), kind="stable") if i not in pair]
        order = [*pair, *rest]
        shown = replace(picture, instances=[objects[i] for i in order])
        tiers[len(objects) > FEW].append(Touching(shown, [rles[i] for i in order]))
        if len(tiers[0]) == count:
            break
    return [contact for tier in tiers for contact in tier][:count]


def _longest(picture: Picture, objects: list, rles: list[dict], gap: int) -> tuple[int, int] | None:
    """Positions of the pair with the longest contact; None where none is LONG enough."""
    short = min(picture.height, picture.width)
    boxes = np.array([i.box for i in objects], float).reshape(-1, 4)
    sides = (boxes[:, 2:] - boxes[:, :2]).min(1)
    large = np.flatnonzero(sides >= SMALLEST * short)
    best, pair, decoded = LONG * short, None, {}
    for place, i in enumerate(large):
        for j in large[place + 1 :]:
            near = (boxes[i, :2] <= boxes[j, 2:] + gap) & (boxes[j, :2] <= boxes[i, 2:] + gap)
            if objects[i].label != objects[j].label or not near.all():
                continue
            for k in {i, j} - set(decoded):
                decoded[k] = masks.decode(rles[k])
            if (length := contact_length(decoded[i], decoded[j], gap)) >= best:
                best, pair = length, (int(i), int(j))
    return pair


def contact_length(one: np.ndarray, other: np.ndarray, gap: int) -> int:
    """Pixels on the rim of `one` (h x w uint8) at most `gap` steps, diagonal ones too, from `other`."""
    rim = one & ~cv2.erode(one, np.ones((3, 3), np.uint8))
    reach = cv2.dilate(other, np.ones((2 * gap + 1, 2 * gap + 1), np.uint8))
    return int((rim & reach & ~other & 1).sum())


def contact_rows(methods: Sequence[nn.Module], root: Root, contacts: Sequence[Touching]) -> list[Contact]:
    """What each trained method makes of the chosen images."""
    chosen = {contact.picture.id: contact for contact in contacts}
    images: dict[int, np.ndarray] = {}
    seen: dict[int, list[Seen]] = {id: [] for id in chosen}
    for method in methods:
        for sample in _samples(method, root, set(chosen)):
            images[sample.id] = sample.image.permute(1, 2, 0).numpy()
            seen[sample.id].append(look(method, sample, chosen[sample.id].rles))
    rows = []
    for number, contact in enumerate(contacts, 1):
        picture = contact.picture
        size = picture.height, picture.width
        boxes = np.array([instance.box for instance in picture.instances])
        pair = np.concatenate([boxes[:2, :2].min(0), boxes[:2, 2:].max(0)])
        rows.append(
            Contact(
                f"image {number}",
                root.category_names[picture.instances[0].label],
                images[picture.id],
                window_around(size, pair, factor=1.5, whole=0),
                instance_map(contact.rles, size),
                boxes,
                seen[picture.id],
            )
        )
    return rows


def _samples(method: nn.Module, root: Root, ids: set[int]) -> Iterator[SemanticSample]:
    """Those of the evaluation images; no image after the last of them is read."""
    last = max(ids, default=-1)
    count = sum(picture.id <= last for picture in root.eval)
    samples = islice(semantic_samples(method.recipe, root), count) if ids else ()
    return (sample for sample in samples if sample.id in ids)


def look(method: nn.Module, sample: SemanticSample, truth: Sequence[dict[str, Any]]) -> Seen:
    """The steps of one image's extraction, matched with its objects (M compressed RLEs, a pair first)."""
    (maps,) = method.maps([sample])
    steps = extract_steps(maps.image, maps.boundary, maps.semantic, method.extraction, maps.certainty)
    found = [instance.mask for instance in steps.instances]
    objects, ious = matched(found, truth)
    return Seen(
        maps.boundary,
        steps.lines,
        maps.semantic,
        steps.seeds,
        steps.regions,
        region_instances(steps),
        _painted(found, sample.size),
        np.array([instance.box for instance in steps.instances], float).reshape(-1, 4),
        np.array([instance.score for instance in steps.instances]),
        objects,
        ious,
        bool(separated(truth, found, np.array([[0, 1]]))[0]),
    )


def matched(found: Sequence[dict], truth: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    """One to one, the largest sum of IoUs: the object of each of N instances, -1 none; IoUs of M objects."""
    objects, ious = np.full(len(found), -1), np.zeros(len(truth))
    if len(found) and len(truth):
        table = masks.iou(list(found), list(truth), [0] * len(truth))
        rows, columns = linear_sum_assignment(table, maximize=True)
        real = table[rows, columns] > 0
        objects[rows[real]], ious[columns[real]] = columns[real], table[rows, columns][real]
    return objects, ious


def region_instances(steps: Steps) -> np.ndarray:
    """Position of the instance that a region becomes, by the region's label; -1 for none."""
    found = np.full(int(steps.regions.max(initial=0)) + 1, -1)
    for position, instance in enumerate(steps.instances):
        inside = np.bincount(steps.regions[masks.decode(instance.mask) > 0], minlength=len(found))
        inside[0] = 0  # a closing takes in unlabelled pixels
        if inside.any():
            found[inside.argmax()] = position
    return found


def _painted(found: Sequence[dict], size: tuple[int, int]) -> np.ndarray:
    """N masks, best first -> h x w int32: 0 none, else position + 1; the better one lies in front."""
    labels = np.zeros(size, np.int32)
    for position in reversed(range(len(found))):
        labels[masks.decode(found[position]) > 0] = position + 1
    return labels


def _chosen(contacts: list[Contact]) -> str:
    return (
        f"{len(contacts)} evaluation images, around two touching objects of one class: the first with such a"
        " pair by their ground truth, those with few objects first, whatever was predicted."
    )


def _boundaries(method: nn.Module) -> str:
    settings = method.extraction
    if method.spec.boundary == "none":
        return "This run extracts without a boundary map."
    kind = "gradient of the image's colours" if method.spec.boundary == "gradient" else "boundary map"
    thin = "thinned and " if settings.thin else ""
    return f"The {kind} is {thin}cut at {settings.threshold:g}."


def _seeds(settings: Extraction) -> str:
    if settings.seeds == "literal":
        what = "Seeds are components of all pixels that are no boundary"
    else:
        what = "Seeds are components, class by class, of the semantic map without boundary pixels"
    flooded = "boundary map" if settings.relief == "boundary" else "image's gradient"
    refined = ", each closed and cut to its class" if settings.refine else ""
    return f"{what}; a watershed of the {flooded} makes them regions{refined}. Light grey is background."
