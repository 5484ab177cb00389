"""What the project does with a bad input: it is refused in a line that names where, or it is taken."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from pycocotools import mask as masks

from wsis.carried import carried
from wsis.configuration import known, overrides, predict_only, seeds
from wsis.data.places import named_roots
from wsis.declare import load
from wsis.declare.measured import measured_costs
from wsis.declare.recipe import Recipe
from wsis.declare.scale import load_scale
from wsis.declare.specs.data import DataSpec
from wsis.errors import WsisError, one_line
from wsis.evaluation.run import evaluated
from wsis.plan import make_plan

FILES = ("paper", "table1a", "recipe", "errata", "figure4", "scale")
LONGEST = 4000  # characters of a message


def outcome(act: Callable[..., Any], *given: Any) -> str | None:
    """The message with which an input is refused, None where it is taken. Any other exception is a fault."""
    try:
        act(*given)
    except WsisError as error:
        line = one_line(f"wsis: {error}")
        assert len(line) < LONGEST, f"a message of {len(line)} characters: {line[:300]}"
        return line
    return None


def declarations(folder: Path) -> Path:
    """A small root of one paper at one scale; its caches hold nothing of another content."""
    for cached in (
        load.load_papers,
        load.load_tables,
        load.load_figures,
        load.load_errata,
        load.load_recipes,
    ):
        cached.cache_clear()
    load_scale.cache_clear()
    root = folder / "declared"
    shutil.rmtree(root, ignore_errors=True)
    (root / "boxinst").mkdir(parents=True)
    (root / "scales").mkdir()
    for name in FILES:
        place_of(root, name).write_bytes(good(name))
    shutil.copy(carried("ablations") / "scales" / "tiny.yaml", root / "scales")  # which smoke extends
    return root


@cache
def good(name: str) -> bytes:
    """One of the declarations; a table without claims about others."""
    content = place_of(carried("ablations"), name).read_bytes()
    if not name.startswith("table"):
        return content
    tree = yaml.safe_load(content)
    tree["claims"] = [claim for claim in tree["claims"] if "table:" not in str(claim).replace("'", "")]
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode()


def place_of(root: Path, name: str) -> Path:
    return root / "scales" / "smoke.yaml" if name == "scale" else root / "boxinst" / f"{name}.yaml"


def declare(folder: Path, name: str, content: bytes) -> None:
    """Plan with one of the declarations as `content`."""
    root = declarations(folder)
    place_of(root, name).write_bytes(content)
    load.load_errata(root)
    load.load_figures(root)
    make_plan("smoke", root=root)


def configure(folder: Path, config: dict[str, Any]) -> None:
    """Plan as the workflow does with a configuration."""
    root = declarations(folder)
    config = {"scale": "smoke", "costs": None, "data_root": None} | config
    known(config)
    predict_only(config)
    named_roots(config["data_root"])
    measured = measured_costs(folder, config["scale"], config["costs"])
    make_plan(config["scale"], seeds(config), overrides(config), root, measured=measured)


def pair() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Predictions and a ground truth of two images that fit together."""
    drawn = np.zeros((10, 14), np.uint8, order="F")
    drawn[2:5, 3:9] = 1
    rle = masks.encode(drawn)
    rle = {"size": [10, 14], "counts": rle["counts"].decode()}
    truth = {
        "info": {"area_scale": 1.0},
        "images": [{"id": i, "file_name": f"{i}.png", "height": 10, "width": 14} for i in (1, 2)],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 18, "segmentation": rle},
            {"id": 2, "image_id": 2, "category_id": 2, "iscrowd": 0, "area": 50.0,
             "segmentation": [[1, 1, 11, 1, 11, 6, 1, 6]]},
            {"id": 3, "image_id": 2, "category_id": 1, "iscrowd": 1, "area": 140,
             "segmentation": {"size": [10, 14], "counts": [0, 140]}},
        ],
    }  # fmt: skip
    found = [
        {"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": rle, "annotation_id": 1},
        {"image_id": 2, "category_id": 2, "score": 1, "segmentation": rle, "bbox": [3, 2, 6, 3],
         "annotation_id": 2},
    ]  # fmt: skip
    return found, truth


def evaluate(folder: Path, protocol: str, which: int, content: bytes) -> None:
    """Evaluate with the predictions (0) or the ground truth (1) as `content`."""
    paths = [folder / "predictions.json", folder / "truth.json"]
    for path, good in zip(paths, pair(), strict=True):
        path.write_text(json.dumps(good))
    paths[which].write_bytes(content)
    metrics = evaluated(*paths, protocol)["metrics"]
    assert all(value is None or 0 <= value <= 100 for value in metrics.values()), metrics


SECRET = 251  # grey level of the pictures outside of the root


def picture_root(folder: Path) -> Path:
    """A COCO root with a picture a split, beside files that nobody may read by it."""
    root = folder / "all" / "root"
    shutil.rmtree(folder / "all", ignore_errors=True)
    (root / "annotations").mkdir(parents=True)
    (folder / "all" / "outside").mkdir()
    secret = Image.new("RGB", (30, 20), (SECRET,) * 3)
    secret.save(folder / "all" / "outside" / "secret.png")
    secret.save(root.parent / "secret.png")
    for split in ("train2017", "val2017"):
        (root / split).mkdir()
        Image.new("RGB", (30, 20), (9, 9, 9)).save(root / split / "1.png")
        (root / split / "out.png").symlink_to("../../secret.png")
        (root / split / "far").symlink_to("../../outside")
        (root / split / "near.png").symlink_to("1.png")
        (root / split / "loop.png").symlink_to("loop.png")
        os.mkfifo(root / split / "pipe.png")
    return root


NAMES = [
    "1.png", "near.png", "out.png", "far/secret.png", "loop.png", "pipe.png", "../../secret.png", "./1.png",
    "../train2017/1.png", "{outside}/secret.png", "far/../../secret.png", "1.png/..", "1.png/", "..", ".",
    "/", "/dev/zero", "/dev/stdin", "x" * 300, "annotations", "a\0.png", "\ud800.png", "out.png/", "",
    "~/1.png",
]  # fmt: skip


def open_pictures(folder: Path, name: Any) -> None:
    """Check a root with a picture of this file name, and read every picture of it."""
    from wsis.data.check.root import check_root
    from wsis.data.roots import open_root
    from wsis.data.transforms import read_image

    root = picture_root(folder)
    if isinstance(name, str):
        name = name.replace("{outside}", str(root.parent))
    for split in ("train2017", "val2017"):
        content = {
            "images": [{"id": 1, "file_name": name, "height": 20, "width": 30}],
            "categories": [{"id": 1, "name": "a"}],
            "annotations": [
                {
                    "id": 1,
                    "image_id": 1,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [1, 1, 9, 9],
                    "area": 81,
                    "segmentation": [[1, 1, 10, 1, 10, 10, 1, 10]],
                }
            ],
        }
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    report = check_root(root)
    recipe = Recipe(method="boxinst", data=DataSpec(dataset="coco"))
    opened = open_root(recipe, root)
    for picture in [*opened.train, *opened.eval]:
        pixels = read_image(picture.path, picture.height, picture.width)
        assert pixels.max() < SECRET, f"{name!r} was read outside of the root"
    assert not report.problems, f"{name!r} was read, which `wsis data check` reports"
