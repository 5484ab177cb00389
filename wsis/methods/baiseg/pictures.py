"""What a trained BAISeg makes of images with touching objects of one class, as sheets of pictures.

Shapes: h x w pixels of an image, M annotated objects, N predicted instances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as masks
from scipy.optimize import linear_sum_assignment
from torch import nn

from wsis.data.annotations import Picture
from wsis.data.roots import Root
from wsis.data.structures import SemanticSample
from wsis.evaluation.rle import truth_rle
from wsis.methods.baiseg.batches import semantic_samples
from wsis.methods.baiseg.boundary import separated
from wsis.methods.baiseg.extract.pipeline import extract
from wsis.methods.baiseg.semantic import BAND
from wsis.methods.baiseg.sheets import Contact, Seen, contrast_sheet, steps_sheet
from wsis.methods.baiseg.spec import BaisegSpec
from wsis.pictures.choice import FEW, SMALLEST
from wsis.pictures.grid import Sheet
from wsis.pictures.subject import Subject

IMAGES, PAIRS = 6, 8  # of the sheet of one run, and of that of two
LONG = 1 / 12  # of the short side: shorter contacts are hard to see
COLOURS = (
    "The pair is orange and blue. An object and the instance that matches it best (by IoU, one to one) have"
    " one colour; greys are instances that match none."
)


def draw_steps(subject: Subject) -> list[Sheet]:
    """The steps of the extraction, from boundary map to instances."""
    (method,) = subject.networks.values()
    contacts = looked_at(subject, IMAGES)
    caption = (
        f"{_chosen(contacts)} {_boundaries(method)} {_seeds(method.extraction)} Told apart:"
        f" {_apart(contacts, 0)} of the {len(contacts)} pairs. {COLOURS}"
    )
    return [steps_sheet(contacts, subject.root.category_names, caption)]


def draw_contrast(subject: Subject) -> list[Sheet]:
    """Contact objects before and after PPC."""
    contacts = looked_at(subject, PAIRS)
    thresholds = " and ".join(f"{method.extraction.threshold:g}" for method in subject.networks.values())
    caption = (
        f"{_chosen(contacts)} The same images by two networks, trained without and with the pixel contrast"
        f" (PPC, Eq. 6); boundary thresholds {thresholds}. A frame is green where the two touching objects"
        " are told apart: each has a best instance of its own, which covers less than half of the other; else"
        f" it is red. Told apart: {_apart(contacts, 0)} of these {len(contacts)} pairs without PPC,"
        f" {_apart(contacts, 1)} with it. {COLOURS}"
    )
    return [contrast_sheet(contacts, subject.root.category_names, caption)]


def looked_at(subject: Subject, count: int) -> list[Contact]:
    """Images with touching objects, and what each network makes of them."""
    contacts = touching(subject.pictures, count, gap(subject.root))
    chosen = {contact.picture.id: contact for contact in contacts}
    last = max(chosen, default=-1)
    read = sum(picture.id <= last for picture in subject.root.eval)  # no image after the last one
    for method in subject.networks.values():
        for sample in islice(semantic_samples(method.recipe, subject.root), read):
            if contact := chosen.get(sample.id):
                contact.seen.append(look(method, sample, contact.rles))
    return contacts


def _apart(contacts: list[Contact], network: int) -> int:
    return sum(contact.seen[network].apart for contact in contacts)


def gap(root: Root) -> int:
    """Pixels from an object to one that it touches: VOC's masks leave a band of void between the two."""
    return int(2 * BAND) + 1 if root.dataset == "voc" else 1


def touching(pictures: Sequence[Picture], count: int, gap: int) -> list[Contact]:
    """The first pictures with two objects of one class that touch along a line which can be seen.

    Those with at most FEW objects come first. In each the pair with the longest contact, among objects that
    aren't too small to be seen, comes first, then the largest. No prediction has a say in this.
    """
    tiers: list[list[Contact]] = [[], []]
    for picture in pictures:
        objects = [i for i in picture.instances if not i.crowd]
        rles = [truth_rle(i.segmentation, (picture.height, picture.width)) for i in objects]
        pair = _longest(picture, objects, rles, gap)
        if pair is None:
            continue
        rest = [i for i in np.argsort(-masks.area(rles).astype(int), kind="stable") if i not in pair]
        order = [*pair, *rest]
        shown = replace(picture, instances=[objects[i] for i in order])
        tiers[len(objects) > FEW].append(Contact(shown, [rles[i] for i in order]))
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


def look(method: nn.Module, sample: SemanticSample, truth: Sequence[dict[str, Any]]) -> Seen:
    """The steps of one image's extraction, matched with its objects (M compressed RLEs, a pair first)."""
    (maps,) = method.maps([sample])
    steps = extract(maps.image, maps.boundary, maps.semantic, method.extraction, maps.certainty)
    instances = [instance.mask for instance in steps.instances]
    apart = bool(separated(truth, instances, np.array([[0, 1]]))[0])
    return Seen(maps, steps, *matched(instances, truth), apart)


def matched(predicted: Sequence[dict], truth: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    """One to one, the largest sum of IoUs: the object of each of N instances, -1 none; IoUs of M objects."""
    objects, ious = np.full(len(predicted), -1), np.zeros(len(truth))
    if len(predicted) and len(truth):
        table = masks.iou(list(predicted), list(truth), [0] * len(truth))
        rows, columns = linear_sum_assignment(table, maximize=True)
        real = table[rows, columns] > 0
        objects[rows[real]], ious[columns[real]] = columns[real], table[rows, columns][real]
    return objects, ious


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


def _seeds(settings: BaisegSpec) -> str:
    if settings.seeds == "literal":
        what = "Seeds are components of all pixels that are no boundary"
    else:
        what = "Seeds are components, class by class, of the semantic map without boundary pixels"
    flooded = "boundary map" if settings.relief == "boundary" else "image's gradient"
    refined = ", each closed and cut to its class" if settings.refine else ""
    return f"{what}; a watershed of the {flooded} makes them regions{refined}. Light grey is background."
