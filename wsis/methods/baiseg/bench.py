"""`wsis bench extract`: boundary and semantic maps -> instances; images a second on one core.

Literal and semantic seeds, the time of each step, and how the time grows with the number of instances.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from wsis.methods.baiseg.extract.flood import flood, flood_classes
from wsis.methods.baiseg.extract.instances import instances
from wsis.methods.baiseg.extract.pipeline import extract
from wsis.methods.baiseg.extract.seeds import literal_seeds, semantic_seeds
from wsis.methods.baiseg.extract.thin import boundary_pixels
from wsis.methods.baiseg.spec import BaisegSpec
from wsis.options import JsonOption

HEIGHT, WIDTH = 375, 500
COUNTS = (10, 40, 160)
CLASSES = 3
COVER = 0.5  # area of all objects, overlaps counted twice, over the image's
GOAL = 15  # images a second
STEPS = ("thin", "seeds", "watershed", "instances")
THRESHOLD = 0.15  # the scenes' faintest contours exceed it
STRIDE = 4  # of the network whose map is imitated: its noise is as coarse
SETTINGS = {seeds: BaisegSpec(threshold=THRESHOLD, seeds=seeds) for seeds in ("literal", "semantic")}

Maps = tuple[np.ndarray, np.ndarray, np.ndarray]  # image, boundary, semantic


def scene(id: int, objects: int) -> Maps:
    """An image of wavy discs that overlap, their classes, and a blurred, noisy map of their contours."""
    rng = np.random.default_rng([id, objects])
    labels = np.zeros((HEIGHT, WIDTH), np.int32)
    side = np.sqrt(HEIGHT * WIDTH * COVER / (objects * np.pi))
    for number in range(1, objects + 1):
        r = side * rng.uniform(0.7, 1.3)
        y, x = rng.uniform(0, HEIGHT), rng.uniform(0, WIDTH)
        top, left = max(int(y - 1.2 * r), 0), max(int(x - 1.2 * r), 0)
        crop = labels[top : int(y + 1.2 * r) + 1, left : int(x + 1.2 * r) + 1]
        rows, columns = np.indices(crop.shape)
        rows, columns = rows + top - y, columns + left - x
        wave = 1 + 0.15 * np.sin(3 * np.arctan2(rows, columns) + rng.uniform(0, 6.3))
        crop[np.hypot(rows, columns) < r * wave] = number
    classes = np.concatenate([[0], rng.integers(1, CLASSES + 1, objects)]).astype(np.uint8)
    edge = np.zeros(labels.shape, np.float32)
    edge[1:][labels[1:] != labels[:-1]] = 1
    edge[:, 1:][labels[:, 1:] != labels[:, :-1]] = 1
    boundary = cv2.GaussianBlur(edge, (0, 0), 2.0)
    noise = rng.normal(0, 0.05, (HEIGHT // STRIDE, WIDTH // STRIDE)).astype(np.float32)
    boundary = boundary / boundary.max() + cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    grey = (labels * 37 % 200 + 30).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2), np.clip(boundary, 0, 1), classes[labels]


def bench(
    images: Annotated[int, typer.Option(help="images of each kind")] = 20, as_json: JsonOption = False
) -> None:
    """BAISeg's mask extraction at 500 x 375: images a second on one core, by step and number of objects."""
    result = measure(images)
    if as_json:
        print(json.dumps(result, indent=1))
        return
    table = Table("objects", "seeds", "found", "images/s", "ms", *STEPS, title="mask extraction")
    for row in result["rows"]:
        times = [1 / row["images_per_second"], *row["steps"].values()]
        cells = [f"{row['found']:.1f}", f"{row['images_per_second']:.0f}", *(f"{1e3 * t:.1f}" for t in times)]
        table.add_row(str(row["objects"]), row["seeds"], *cells)
    Console(width=100).print(table)
    print(f"{HEIGHT} x {WIDTH}, {images} images a row, one core, CPU time in ms; goal {GOAL} images/s")
    few, many = COUNTS[0], COUNTS[-1]
    for seeds, growth in result["growth"].items():
        print(f"{seeds}: {growth:.1f} times the time for {many // few} times the objects")


def measure(images: int = 20) -> dict[str, Any]:
    """Images a second and seconds by step of every number of objects and kind of seeds (CPU time)."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        rows = []
        for objects in COUNTS:
            scenes = [scene(id, objects) for id in range(images)]
            rows += [_row(scenes, objects, seeds) for seeds in SETTINGS]
    finally:
        cv2.setNumThreads(threads)
    rates = {(row["objects"], row["seeds"]): row["images_per_second"] for row in rows}
    growth = {seeds: rates[COUNTS[0], seeds] / rates[COUNTS[-1], seeds] for seeds in SETTINGS}
    return {"rows": rows, "growth": growth, "goal": GOAL}


def _row(scenes: list[Maps], objects: int, seeds: str) -> dict[str, Any]:
    settings = SETTINGS[seeds]
    extract(*scenes[0], settings)  # loads what is loaded at first use
    count, whole = 0, 0.0
    steps = dict.fromkeys(STEPS, 0.0)
    for maps in scenes:
        start = time.process_time()
        count += len(extract(*maps, settings).instances)
        whole += time.process_time() - start
        for name, step in _steps(maps, settings).items():
            start = time.process_time()
            step()
            steps[name] += (time.process_time() - start) / len(scenes)
    return {
        "objects": objects,
        "seeds": seeds,
        "found": count / len(scenes),
        "images_per_second": len(scenes) / whole,
        "steps": steps,
    }


def _steps(maps: Maps, settings: BaisegSpec) -> dict[str, Callable[[], Any]]:
    """Each step of the pipeline by itself, on the output of the one before it."""
    _, boundary, semantic = maps
    given = extract(*maps, settings)
    free = ~given.lines
    literal = settings.seeds == "literal"

    def seeds() -> np.ndarray:
        if literal:
            return literal_seeds(free)
        return semantic_seeds(free, semantic, settings.min_area, background=False)

    def watershed() -> np.ndarray:
        return flood(given.seeds, boundary) if literal else flood_classes(given.seeds, boundary, semantic)

    steps = (
        lambda: boundary_pixels(boundary, settings.threshold, settings.thin),
        seeds,
        watershed,
        lambda: instances(given.regions, semantic, boundary, None, settings.closing),
    )
    return dict(zip(STEPS, steps, strict=True))
