"""`wsis bench proxy`: raw masks in a file -> merged, dropped, written as COCO annotations; on one core.

Beside it a plain loop that decodes every mask, paints the image larger boxes first and encodes it again.
"""

from __future__ import annotations

import json
import tempfile
import time
import tracemalloc
from itertools import chain, count, islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from pycocotools import mask as masks
from rich.console import Console
from rich.table import Table

from wsis.declare.specs.parents import ProxySpec
from wsis.options import JsonOption
from wsis.proxy.annotations import proxy_masks, write_annotations
from wsis.proxy.generate import read_proxies, write_proxies

HEIGHT, WIDTH = 375, 500
OBJECTS = 7  # an image; COCO has 7.3, VOC 2.4
# COCO's box sides: log of sqrt(box area / image area), measured on train2017 images.
LOG_SIDE, LOG_SIDE_STD = -2.3, 1.05
CATEGORIES = [{"id": 1, "name": "object"}]
RULES = ProxySpec(parent="bench")


def scene(id: int) -> dict[str, Any]:
    """An image's raw masks: wavy blobs that fill COCO-like boxes, the small ones in front of the large."""
    rng = np.random.default_rng(id)
    objects = []
    for number in range(OBJECTS):
        side = np.exp(rng.normal(LOG_SIDE, LOG_SIDE_STD))
        stretch = np.exp(rng.normal(0, 0.4))
        w = int(np.clip(side * stretch * WIDTH, 2, WIDTH))
        h = int(np.clip(side / stretch * HEIGHT, 2, HEIGHT))
        x, y = int(rng.integers(0, WIDTH - w + 1)), int(rng.integers(0, HEIGHT - h + 1))
        rows, columns = (np.arange(h) + 0.5) / h * 2 - 1, (np.arange(w) + 0.5) / w * 2 - 1
        angle = np.arctan2(rows[:, None], columns)
        phases = rng.uniform(0, 6.3, 3)
        radius = 1.0 + sum(0.08 * np.sin((3 + 4 * k) * angle + phases[k]) for k in range(3))
        mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
        mask[y : y + h, x : x + w] = np.hypot(rows[:, None], columns) < radius
        entry = {"annotation_id": id * OBJECTS + number + 1, "category_id": 1, "bbox": [x, y, w, h]}
        objects.append({**entry, "rle": masks.encode(mask), "certainty": 0.9})
    return {"image_id": id, "file_name": f"{id}.jpg", "height": HEIGHT, "width": WIDTH, "objects": objects}


def bench(
    seconds: Annotated[float, typer.Option(help="to measure for")] = 4.0, as_json: JsonOption = False
) -> None:
    """Merging, dropping and writing proxy masks: masks a second on one core, peak memory."""
    result = measure(seconds)
    if as_json:
        print(json.dumps(result, indent=1))
        return
    table = Table("", "masks/s", title="proxy masks")
    table.add_row("merge, drop, write", f"{result['masks_per_second']:,.0f}")
    table.add_row("plain loop", f"{result['plain_masks_per_second']:,.0f}")
    Console().print(table)
    few, many = result["peak_kb"].items()
    print(
        f"{HEIGHT} x {WIDTH}, {OBJECTS} masks an image, one core: {result['masks']} masks in"
        f" {result['seconds']:.1f} s, {result['drop_rate']:.0%} dropped; memory at most {few[1]:.0f} kB for"
        f" {few[0]} images and {many[1]:.0f} kB for {many[0]}"
    )


def measure(seconds: float = 4.0, images: int = 200) -> dict[str, Any]:
    """Masks a second over about `seconds` of both ways, peak memory of few and many images."""
    with tempfile.TemporaryDirectory() as folder:
        raw, out = Path(folder) / "raw.jsonl", Path(folder) / "proxies.json"
        write_proxies(raw, range(images), lambda left: map(scene, left), {"bench": 1}, show=False)
        _check(raw)
        done, passes, start = 0, 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < seconds:
            stats = write_annotations(read_proxies(raw), CATEGORIES, out, RULES)
            done, passes = done + stats["objects"], passes + 1
        plain = _plain_rate(raw, seconds / 2)
        peaks = {str(n): _peak(raw, n, out) for n in (images, 4 * images)}
    return {
        "masks": done,
        "seconds": spent,
        "masks_per_second": done / spent,
        "plain_masks_per_second": plain,
        "drop_rate": stats["drop_rate"],
        "peak_kb": peaks,
    }


def plain_merge(image: dict[str, Any]) -> list[dict[str, Any]]:
    """The masks of an image after painting the larger boxes first; every pixel is decoded."""
    objects = image["objects"]
    owner = np.full((image["height"], image["width"]), -1)
    for index in sorted(range(len(objects)), key=lambda i: -objects[i]["bbox"][2] * objects[i]["bbox"][3]):
        owner[masks.decode(objects[index]["rle"]).astype(bool)] = index
    return [masks.encode(np.asfortranarray(owner == i).view(np.uint8)) for i in range(len(objects))]


def _plain_rate(raw: Path, seconds: float) -> float:
    done, start = 0, time.perf_counter()
    while True:
        for image in read_proxies(raw):
            done += len(plain_merge(image))
            if (spent := time.perf_counter() - start) > seconds:
                return done / spent


def _check(raw: Path) -> None:
    """Raise ValueError unless both ways give the same masks."""
    merged, _ = proxy_masks(read_proxies(raw), ProxySpec(parent="bench", drop=None))
    for image in read_proxies(raw):
        for entry, plain in zip(image["objects"], plain_merge(image), strict=True):
            if merged[entry["annotation_id"]]["counts"].encode() != plain["counts"]:
                raise ValueError(f"the two ways disagree on annotation {entry['annotation_id']}")


def _peak(raw: Path, images: int, out: Path) -> float:
    """kB that writing so many images needs, read from `raw` again and again."""
    repeated = chain.from_iterable(read_proxies(raw) for _ in count())
    tracemalloc.start()
    write_annotations(islice(repeated, images), CATEGORIES, out, RULES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1024
