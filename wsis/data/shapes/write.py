"""Write `shapes`, the synthetic data set of the small scales, as a COCO root.

<root>/train/*.png, <root>/val/*.png      s x s RGB
<root>/annotations/instances_{train,val}.json
<root>/semantic/{train,val}/*.png         uint8: 0 background, class position + 1
<root>/salient/{images,masks}/*.png, <root>/salient/train.txt    where spec.salient_images > 0
<root>/texture/<split>/*.png              spec.kind "texture": uint8, 255 on edges inside an object's texture
<root>/checksums.sha256                   of all other files
<root>/stats.json                         spec, seed, counts, shares (sizes, overlaps, ...), separability
spec.salient says how far the salient images are from the others (wsis.data.shapes.salient).
Roots of the kind "texture" have a third split, `dev`, to choose thresholds on; it is the same for every seed.

COCO calls objects small below 32^2 and large above 96^2 pixels, and a 96 x 96 image cannot hold a large one.
The annotations' `area` is therefore given in *reference pixels*, those of the same picture shown 216 pixels
wide: area = visible pixels x area_scale with area_scale = (216 / s)^2, which is stated in the file's `info`.
AP_S, AP_M and AP_L of `shapes` are therefore sizes relative to the picture, not COCO's; an evaluator has to
multiply the area of detections by `info.area_scale` too. Boxes and masks are in plain pixels.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle

from wsis.checksums import seal_folder
from wsis.data.outlines import CLASSES
from wsis.data.shapes.plain import Drawing, draw_scene
from wsis.data.shapes.salient import domain_of, draw_salient
from wsis.data.shapes.separability import separability
from wsis.data.shapes.texture import draw_texture, texture_edges, touching_pairs
from wsis.declare.specs.data import ShapesSpec
from wsis.disk import writing
from wsis.errors import WsisError
from wsis.files import read_keys, remove_left, temporary_of

VERSION = 1  # of the drawing: raise it when the same seed draws something else
REFERENCE_SIDE = 216  # pixels; see above
SMALL, LARGE = 32**2, 96**2  # COCO's limits, applied to `area`
OVERLAP = 0.1  # box IoU
DEV_IMAGES = 40  # of the split `dev` of the kind "texture"
# So that no two splits share images, whatever their seeds.
STREAMS = {"train": 0, "val": 1, "salient": 2, "dev": 3}


def write_shapes(spec: ShapesSpec, seed: int, folder: Path) -> Path:
    """Write the root into `folder` unless it is already there; returns `folder`.

    `train` is drawn from seed 1000 + seed, `val` and `dev` from spec.val_seed alone: every seed is evaluated
    on the same images. Image i depends on its split's seed and i only: a smaller set is the start of a larger
    one. The folder appears at once, complete. Raises WsisError where `folder` holds something else.
    """
    folder = Path(folder)
    asked = {"version": VERSION, "seed": seed, "spec": spec.model_dump(mode="json")}
    if _complete(folder, asked):
        return folder
    temporary = temporary_of(folder)
    remove_left(folder)
    try:
        with writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            _write(spec, seed, temporary, asked)
            seal_folder(temporary)
        try:
            os.replace(temporary, folder)
        except OSError:
            if not _complete(folder, asked):  # another process may have been faster
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _complete(folder: Path, asked: dict) -> bool:
    if not folder.exists() or not any(folder.iterdir()):
        return False
    advice = "remove the folder to have it drawn anew, or name another one"
    try:
        stats = read_keys(folder / "stats.json")
    except WsisError:
        raise WsisError(f"{folder}: exists, but is not a complete `shapes` root; {advice}") from None
    if isinstance(stats.get("spec"), dict):  # a key that the root is older than has its default
        stats["spec"] = ShapesSpec().model_dump(mode="json") | stats["spec"]
    for key, value in asked.items():
        if stats.get(key) != value:
            raise WsisError(f"{folder}: was drawn with {key} {stats.get(key)}, asked for {value}; {advice}")
    return True


def _write(spec: ShapesSpec, seed: int, root: Path, asked: dict) -> None:
    (root / "annotations").mkdir(parents=True)
    stats = {**asked, "splits": {}}
    splits = [("train", spec.train_images, 1000 + seed), ("val", spec.val_images, spec.val_seed)]
    if spec.kind == "texture":
        splits.append(("dev", DEV_IMAGES, spec.val_seed))
    for split, count, base in splits:
        stats["splits"][split] = _write_split(root, split, count, base, spec)
    if spec.salient_images:
        stats["salient"] = _write_salient(root / "salient", spec, 1000 + seed)
    stats["separability"] = separability(root)
    (root / "stats.json").write_text(json.dumps(stats, indent=1))


def _write_split(root: Path, split: str, count: int, base: int, spec: ShapesSpec) -> dict:
    (root / split).mkdir()
    (root / "semantic" / split).mkdir(parents=True)
    textured = spec.kind == "texture"
    if textured:
        (root / "texture" / split).mkdir(parents=True)
    pairs, edges = [], 0
    images, annotations, drawn = [], [], {"two_coloured": 0, "faded": 0}
    for index in range(count):
        rng = np.random.default_rng([base, STREAMS[split], index])
        if textured:
            drawing = draw_texture(rng, spec.size, spec.low_contrast)
        else:
            drawing = draw_scene(rng, spec.size, spec.low_contrast, spec.kind)
        drawn["two_coloured"] += sum(part is not None for part in drawing.seconds)
        drawn["faded"] += sum(pixel is not None for pixel in drawing.faded)
        name = f"{index + 1:06d}.png"
        _save(drawing.image, root / split / name)
        _save(_semantic(drawing, spec.size), root / "semantic" / split / name)
        if textured:
            inner = texture_edges(drawing)
            _save(inner.astype(np.uint8) * 255, root / "texture" / split / name)
            pairs.append(len(touching_pairs(drawing.masks, drawing.labels)))
            edges += int(inner.sum())
        images.append({"id": index + 1, "file_name": name, "height": spec.size, "width": spec.size})
        for mask, label in zip(drawing.masks, drawing.labels, strict=True):
            annotations.append(_annotation(len(annotations) + 1, index + 1, label, mask))
    categories = [{"id": i + 1, "name": name, "supercategory": "shape"} for i, name in enumerate(CLASSES)]
    info = {
        "description": "wsis shapes: synthetic; `area` in reference pixels",
        "version": str(VERSION),
        "area_scale": area_scale(spec.size),
    }
    content = {"info": info, "licenses": [], "images": images, "categories": categories}
    content["annotations"] = annotations
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content, separators=(",", ":")))
    summary = _summary(annotations, count) | {
        key: round(100 * number / len(annotations), 1) for key, number in drawn.items()
    }
    if textured:
        covered = sum(rle.area(a["segmentation"]) for a in annotations)
        summary["touching"] = round(100 * float(np.mean(np.array(pairs) > 0)), 1)  # % of the images
        summary["touching_pairs"] = sum(pairs)
        summary["texture_edges"] = round(100 * edges / float(covered), 1)  # % of the objects' pixels
    return summary


def area_scale(size: int) -> float:
    """Reference pixels a pixel of an image of side `size`."""
    return (REFERENCE_SIDE / size) ** 2


def _annotation(id: int, image_id: int, label: int, mask: np.ndarray) -> dict:
    encoded = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = int(columns[0]), int(rows[0])
    return {
        "id": id,
        "image_id": image_id,
        "category_id": label + 1,
        "iscrowd": 0,
        "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
        "area": round(float(mask.sum()) * area_scale(len(mask)), 4),
        "segmentation": {"size": list(encoded["size"]), "counts": encoded["counts"].decode()},
    }


def _semantic(drawing: Drawing, size: int) -> np.ndarray:
    semantic = np.zeros((size, size), np.uint8)
    for mask, label in zip(drawing.masks, drawing.labels, strict=True):
        semantic[mask] = label + 1
    return semantic


def _write_salient(folder: Path, spec: ShapesSpec, base: int) -> dict:
    """Counts of images and of those near and far, and the per cent of an image that its object covers."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    names = [f"{index + 1:06d}" for index in range(spec.salient_images)]
    counts, covered = {"images": len(names), "near": 0, "far": 0}, 0.0
    for index, name in enumerate(names):
        domain = domain_of(spec.salient, index)
        drawing = draw_salient(np.random.default_rng([base, STREAMS["salient"], index]), spec.size, domain)
        counts[domain] += 1
        covered += float(drawing.masks[0].mean())
        _save(drawing.image, folder / "images" / f"{name}.png")
        _save(drawing.masks[0].astype(np.uint8) * 255, folder / "masks" / f"{name}.png")
    (folder / "train.txt").write_text("".join(f"{name}\n" for name in names))
    return counts | {"covered": round(100 * covered / len(names), 1)}


def _summary(annotations: list[dict], images: int) -> dict:
    area = np.array([a["area"] for a in annotations])
    box = np.array([a["bbox"][2] * a["bbox"][3] for a in annotations])
    labels = np.array([a["category_id"] for a in annotations])
    pixels = np.array([rle.area(a["segmentation"]) for a in annotations])
    share = lambda chosen: round(100 * float(chosen.mean()), 1)  # noqa: E731
    return {
        "images": images,
        "objects": len(annotations),
        "small": share(area < SMALL),
        "medium": share((area >= SMALL) & (area <= LARGE)),
        "large": share(area > LARGE),
        "classes": [share(labels == i + 1) for i in range(len(CLASSES))],
        "fill": round(float((pixels / box).mean()), 3),
        "overlapping": share(_overlapping(annotations)),
    }


def _overlapping(annotations: list[dict]) -> np.ndarray:
    """Whether an object's box overlaps one of the same class and image by an IoU above OVERLAP; N bool."""
    groups: dict[tuple[int, int], list[int]] = {}
    for i, a in enumerate(annotations):
        groups.setdefault((a["image_id"], a["category_id"]), []).append(i)
    overlapping = np.zeros(len(annotations), bool)
    for members in groups.values():
        boxes = [annotations[i]["bbox"] for i in members]
        iou = rle.iou(boxes, boxes, [False] * len(boxes))
        overlapping[members] = (iou > OVERLAP).sum(1) > 1  # the one more is the object itself
    return overlapping


def _save(array: np.ndarray, path: Path) -> None:
    """A PNG of h x w or h x w x 3 (RGB) uint8; OpenCV's encoder takes a third of Pillow's time."""
    path.write_bytes(cv2.imencode(".png", array[..., ::-1] if array.ndim == 3 else array)[1])
