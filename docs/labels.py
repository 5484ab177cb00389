"""The example of labels.md: a YOLO folder of synthetic images, the page's own commands, and its pictures."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from wsis.data.shapes.write import write_shapes
from wsis.declare.specs.data import ShapesSpec
from wsis.files import read_json
from wsis.pictures.overlay import overlay

DOCS = Path(__file__).resolve().parent
SHAPES = ShapesSpec(size=160, train_images=160, val_images=40)
SHOWN = 4  # images of a picture, two by two
SIDE = 240  # pixels of one of them
MASKED = "wsis data check mine\n"  # the command before which somebody has drawn the masks of val


def pictures() -> None:
    """Run the page's blocks of code one after another in an empty folder, and draw what they make."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        shapes = write_shapes(SHAPES, 0, work / "shapes")
        write_yolo(shapes, work / "yolo")
        (work / "photos").symlink_to(shapes / "val")
        for kind, text in blocks((DOCS / "labels.md").read_text(encoding="utf-8")):
            if text.startswith(MASKED):
                truth = Path("annotations") / "instances_val.json"
                (work / "mine" / truth).write_bytes((shapes / truth).read_bytes())
            print(text, flush=True)
            command = [sys.executable, "-c", text] if kind == "python" else ["bash", "-ec", text]
            subprocess.run(command, check=True, cwd=work)
        names = sorted(path.name for path in (shapes / "train").iterdir())[:SHOWN]
        save("boxes", [boxed(work / "mine", "train", name) for name in names])
        drawn = work / "masks" / "drawn"
        save("masks", [Image.open(drawn / f"{name}.jpg") for name in names])
        found = sorted((work / "found" / "drawn").iterdir())[:SHOWN]
        save("found", [Image.open(path) for path in found])


def write_yolo(shapes: Path, root: Path) -> None:
    """A root of shapes as Ultralytics' YOLO has it: a line a box, in parts of the image's size."""
    names: list[str] = []
    for split in ("train", "val"):
        content = read_json(shapes / "annotations" / f"instances_{split}.json")
        names = [each["name"] for each in content["categories"]]
        images, labels = (root / part / split for part in ("images", "labels"))
        labels.mkdir(parents=True)
        images.parent.mkdir(exist_ok=True)
        images.symlink_to(shapes / split)
        for image in content["images"]:
            lines = []
            for entry in content["annotations"]:
                if entry["image_id"] == image["id"]:
                    x, y, w, h = np.array(entry["bbox"]) / image["width"]  # they are square
                    numbers = " ".join(f"{value:.6f}" for value in (x + w / 2, y + h / 2, w, h))
                    lines.append(f"{entry['category_id'] - 1} {numbers}\n")
            (labels / image["file_name"]).with_suffix(".txt").write_text("".join(lines))
    (root / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: {json.dumps(names)}\n")


def blocks(page: str) -> list[tuple[str, str]]:
    """("python" or "sh", text) of the blocks of a page that are to be run."""
    return re.findall(r"^```(python|sh)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def boxed(root: Path, split: str, name: str) -> Image.Image:
    """An image with its annotated boxes."""
    content = read_json(root / "annotations" / f"instances_{split}.json")
    kinds = {each["id"]: each["name"] for each in content["categories"]}
    image = next(each for each in content["images"] if each["file_name"] == name)
    entries = [each for each in content["annotations"] if each["image_id"] == image["id"]]
    pixels = np.array(Image.open(root / split / name).convert("RGB"))
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in (each["bbox"] for each in entries)])
    none = np.zeros((len(boxes), *pixels.shape[:2]), bool)
    return overlay(pixels, none, boxes, [kinds[each["category_id"]] for each in entries])


def save(name: str, images: list[Image.Image]) -> None:
    """docs/labels-<name>.jpg: images two by two."""
    sheet = Image.new("RGB", (2 * SIDE + 4, 2 * SIDE + 4), "white")
    for number, image in enumerate(images):
        place = (number % 2 * (SIDE + 4), number // 2 * (SIDE + 4))
        sheet.paste(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS), place)
    sheet.save(DOCS / f"labels-{name}.jpg", quality=88)
