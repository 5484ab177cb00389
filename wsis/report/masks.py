"""Predicted masks drawn over validation images, the same images in every row, ground truth first.

H, W: height and width of an image in pixels. A strip is one row of tiles; a tile is an image scaled to fit.
"""

from __future__ import annotations

import io
import sys
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw
from pycocotools import mask as rle

from wsis.checksums import DamagedFile, verify
from wsis.data.pixels import inside
from wsis.errors import WsisError
from wsis.files import read_json
from wsis.report.drawn import Panel, Strip
from wsis.report.markup import data_uri

MIN_SCORE = 0.3
MIN_IOU = 0.1
TILES = 4
TILE = (216, 192)  # width, height, pixels; synthetic images of 96 x 96 are shown at twice their size
GAP = 6
COLOURS = np.array(
    [
        (255, 176, 0), (0, 158, 255), (255, 77, 141), (0, 214, 143), (186, 104, 255), (255, 110, 40),
        (240, 240, 60),
    ],
    dtype=np.float32,
)  # fmt: skip
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
WHITE = np.full(3, 255, dtype=np.float32)


def mask_panel(
    rows: Sequence[tuple[str, Path]], annotations: Path, folder: Path, quality: int = 82
) -> Panel | None:
    """Strips of the first images (by id) that have objects; None where no row has predictions.

    rows         (row label, run folder with predictions.json); a damaged one is left out, and stderr told
    annotations  COCO instances file; `folder` holds its images
    quality      of the WebP files, to bound the size of a page

    Masks with a score above 0.3 are drawn. A prediction has the colour of the ground-truth object that it
    overlaps most (IoU of 0.1 or more), else it is white.
    Raises WsisError naming the file when an image or a file of the root is missing or broken.
    """
    rows = [(label, run) for label, run in rows if _there(run / "predictions.json")]
    if not rows:
        return None
    images, truth = _chosen(annotations)
    if not images:
        return None
    tiles = [_read(inside(folder, image["file_name"])) for image in images]
    objects = [truth[image["id"]] for image in images]
    first = _strip("ground truth", tiles, objects, objects, quality)
    strips = []
    for label, run in rows:
        predicted = _predictions(run / "predictions.json", tuple(image["id"] for image in images))
        masks = [predicted[image["id"]] for image in images]
        strips.append(_strip(label, tiles, masks, objects, quality))
    return Panel(first, strips, [str(image["file_name"]) for image in images])


@cache
def _chosen(annotations: Path) -> tuple[list[dict[str, Any]], dict[int, list[np.ndarray]]]:
    """The images drawn and their ground-truth masks (H, W) uint8; crowd regions are left out."""
    tree = read_json(annotations)
    objects = defaultdict(list)
    for annotation in tree["annotations"]:
        if not annotation.get("iscrowd"):
            objects[annotation["image_id"]].append(annotation["segmentation"])
    images = sorted(
        (image for image in tree["images"] if objects[image["id"]]), key=lambda image: image["id"]
    )
    images = images[:TILES]
    return images, {i["id"]: [_decode(s, i["height"], i["width"]) for s in objects[i["id"]]] for i in images}


def _there(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        verify(path)
    except DamagedFile as error:
        print(f"{error}: left out", file=sys.stderr, flush=True)
        return False
    return True


@cache
def _predictions(path: Path, ids: tuple[int, ...]) -> dict[int, list[np.ndarray]]:
    """Image id -> predicted masks (H, W) uint8 with a score above 0.3, best first."""
    chosen: dict[int, list[np.ndarray]] = {image: [] for image in ids}
    for item in sorted(read_json(path), key=lambda item: -item["score"]):
        if item["image_id"] in chosen and item["score"] > MIN_SCORE:
            chosen[item["image_id"]].append(rle.decode(item["segmentation"]))
    return chosen


def _read(path: Path) -> Image.Image:
    try:
        return Image.open(path).convert("RGB")
    except OSError as error:
        raise WsisError(f"{path}: cannot be read for the mask panels: {error}") from None


def _decode(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Polygons, uncompressed or compressed RLE as (height, width) uint8."""
    if isinstance(segmentation, list):
        return rle.decode(rle.merge(rle.frPyObjects(segmentation, height, width)))
    if isinstance(segmentation["counts"], list):
        segmentation = rle.frPyObjects(segmentation, height, width)
    return rle.decode(segmentation)


def _strip(
    label: str,
    images: Sequence[Image.Image],
    masks: Sequence[list[np.ndarray]],
    objects: Sequence[list[np.ndarray]],
    quality: int,
) -> Strip:
    """`masks` over `images`, coloured after the ground-truth `objects`; both hold (H, W) uint8 arrays."""
    tiles = [_tile(i, m, _colours(m, o)) for i, m, o in zip(images, masks, objects, strict=True)]
    width = sum(tile.width for tile in tiles) + GAP * (len(tiles) - 1)
    height = max(tile.height for tile in tiles)
    strip = Image.new("RGB", (width, height), (128, 128, 128))
    left = 0
    for tile in tiles:
        strip.paste(tile, (left, (height - tile.height) // 2))
        left += tile.width + GAP
    out = io.BytesIO()
    strip.save(out, "WEBP", quality=quality, method=2)  # the default takes twice as long for 7 % of the size
    counts = ", ".join(str(len(drawn)) for drawn in masks)
    alt = f"{label}: masks over {len(images)} validation images ({counts} objects drawn)"
    return Strip(label, data_uri(out.getvalue(), "image/webp"), width, height, alt)


def _colours(masks: list[np.ndarray], objects: list[np.ndarray]) -> list[np.ndarray]:
    """The colour of each mask: that of the object it overlaps most, white for none."""
    if not masks:
        return []
    ious = rle.iou(_encode(masks), _encode(objects), [0] * len(objects))  # (masks, objects)
    best = ious.argmax(1)
    return [COLOURS[j % len(COLOURS)] if ious[i, j] >= MIN_IOU else WHITE for i, j in enumerate(best)]


def _encode(masks: list[np.ndarray]) -> list[dict[str, Any]]:
    return [rle.encode(np.asfortranarray(mask)) for mask in masks]


def _tile(image: Image.Image, masks: list[np.ndarray], colours: list[np.ndarray]) -> Image.Image:
    """`image` scaled to fit a tile, each mask as translucent fill and contour on top, largest first."""
    scale = min(TILE[0] / image.width, TILE[1] / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    enlarged = scale > 1
    canvas = np.asarray(
        image.resize(size, Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS),
        dtype=np.float32,
    ).copy()
    canvas = 0.82 * canvas + 12  # a little darker, so that the contours stand out
    for mask, colour in sorted(zip(masks, colours, strict=True), key=lambda pair: -np.count_nonzero(pair[0])):
        resampling = Image.Resampling.NEAREST if enlarged else Image.Resampling.BILINEAR
        inside = np.asarray(Image.fromarray(mask * np.uint8(255)).resize(size, resampling)) > 127
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if not len(rows):
            continue
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        inside, part = inside[box], canvas[box]
        padded = np.pad(inside.view(np.uint8), 2)  # beyond the box nothing is inside
        core = cv2.erode(padded, CROSS, iterations=2)[2:-2, 2:-2]
        part[inside] = 0.62 * part[inside] + 0.38 * colour
        part[inside & (core == 0)] = colour
    tile = Image.fromarray(canvas.clip(0, 255).astype(np.uint8))
    if not masks:
        ImageDraw.Draw(tile).text((6, size[1] - 16), "no mask above 0.3", fill=(255, 255, 255))
    return tile
