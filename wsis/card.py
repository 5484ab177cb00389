"""What a run's folder says of itself as a model: model.json for programs, README.md for readers and hubs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from wsis.declare.load import load_papers
from wsis.declare.recipe import Recipe
from wsis.declare.stored import stored_recipe
from wsis.files import write_text
from wsis.records import read_record

if TYPE_CHECKING:
    from wsis.data.roots import Root

ABOUT, CARD = "model.json", "README.md"
LICENCE = "apache-2.0"
SUPERVISION = {
    "boxes": "bounding boxes",
    "boxes+salient": "bounding boxes, and images of single salient objects with masks",
    "masks": "masks",
    "masks-voc": "bounding boxes, and masks of the VOC classes",
    "masks-nonvoc": "bounding boxes, and masks of the classes that VOC lacks",
    "semantic": "semantic masks",
    "proxy": "masks that another network made",
}
USE = """\
```python
import wsis

model = wsis.load(".")  # this folder
instances = model.predict({call})
instances.boxes, instances.names, instances.scores, instances.masks  # numpy
```
"""


def about_model(
    recipe: Recipe, root: Root, rows: Sequence[tuple[str, str]], protocols: Sequence[str]
) -> dict[str, Any]:
    """The content of model.json.

    Keys: run, method, seed, categories ({"id", "name"} in the order of the network's labels), sizes (pixels
    of the short side, and at most of the long one, that an image is resized to), rows ((table, row) that it
    serves), protocols (of its evaluation).
    """
    data = recipe.data
    return {
        "run": recipe.id,
        "method": recipe.method,
        "seed": recipe.seed,
        "categories": [
            {"id": id, "name": name} for id, name in zip(root.category_ids, root.category_names, strict=True)
        ],
        "sizes": {"short_side": data.eval_short_side, "max_side": data.max_side},
        "rows": [list(row) for row in rows],
        "protocols": list(protocols),
    }


def known_categories(folder: Path) -> dict[int, str]:
    """Category id -> class name of the run in `folder`, in the order of its network's labels."""
    return {each["id"]: each["name"] for each in read_record(folder / ABOUT)["categories"]}


def write_card(
    folder: Path, told: dict[str, Any] | None = None, metrics: dict[str, Any] | None = None
) -> None:
    """Write README.md, the model card, from the other files of a finished run's folder.

    Called again before metrics are written, so that a kill between the two has the evaluation repeated. A
    folder without model.json gets none. told, metrics: what train.json and metrics.json will say
    """
    if (folder / ABOUT).exists():
        write_text(folder / CARD, card(folder, told, metrics))


def card(folder: Path, told: dict[str, Any] | None = None, metrics: dict[str, Any] | None = None) -> str:
    """The text of the model card, with the front matter that model hubs read."""
    about, told = read_record(folder / ABOUT), told or read_record(folder / "train.json")
    recipe = stored_recipe(folder)
    if metrics is None and (folder / "metrics.json").exists():
        metrics = read_record(folder / "metrics.json")
    measured = [metrics, *metrics.get("also", {}).values()] if metrics else []
    papers = load_papers()
    names = {key.split("/")[0] for key, _ in about["rows"]} | {recipe.method}
    cited = [paper for name, paper in papers.items() if name in names]
    front = _front(recipe, about, measured, "other" if "checkpoint" in told else LICENCE)
    sections = [
        f"# {about['run']}",
        _summary(recipe, about, told),
        "## Use",
        USE.format(call='"photo.jpg"' if not _fills(recipe) else '"photo.jpg", boxes=[[10, 20, 110, 220]]'),
        "## Classes",
        ", ".join(f"{each['name']} ({each['id']})" for each in about["categories"]),
        "## Metrics",
        _table(measured) if measured else "Not evaluated yet.",
        "## Training",
        _listed(
            [
                f"method `{recipe.method}`, backbone `{recipe.model.backbone}`,"
                f" first weights `{Path(recipe.model.weights).name}`, seed {recipe.seed}",
                *_trained(recipe, told),
                *_best(told),
                *(f"serves row {row!r} of table {table}" for table, row in about["rows"]),
            ]
        ),
        "All settings: recipe.json; software: environment.json; losses: log.jsonl.",
        "## Deviations from the published recipe",
        _listed(told["deviations"]) if told["deviations"] else "None is known.",
        "## Licence",
        "Code: Apache-2.0. The weights have the terms of those who published them."
        if "checkpoint" in told
        else "Code and weights: Apache-2.0. The training images and the backbone's first weights have terms"
        " of their own.",
    ]
    if cited:
        sections += ["## Citation", *(f"```bibtex\n{paper.bibtex.strip()}\n```" for paper in cited)]
    return f"---\n{front}---\n\n" + "\n\n".join(part.strip() for part in sections) + "\n"


def _trained(recipe: Recipe, told: dict[str, Any]) -> list[str]:
    """How the weights came about: a training, or an official checkpoint (`wsis import`)."""
    if (origin := told.get("checkpoint")) is not None:
        return [
            f"weights of {origin['code']}, `{origin['config']}`, trained by its authors: `{origin['file']}`"
            f" (sha256 {origin['sha256']})"
        ]
    return [
        f"{told['iterations']} iterations of {recipe.schedule.batch} images, optimiser"
        f" {recipe.schedule.optimizer}, learning rate {recipe.schedule.lr:g}",
        f"data: {told['data']['train_images']} training images of `{told['data']['root_name']}`"
        f" (annotations {told['data']['fingerprint']})",
        f"{told['seconds']:.0f} s on {told['devices']} x {told['device_name']}",
    ]


def _front(recipe: Recipe, about: dict[str, Any], measured: list[dict[str, Any]], licence: str) -> str:
    task = {"type": "image-segmentation", "name": "instance segmentation"}
    data = {"type": recipe.data.dataset, "name": recipe.data.dataset, "split": recipe.data.eval}
    values = [
        {"type": name, "name": f"{name} ({each['protocol']})", "value": round(value, 3)}
        for each in measured
        for name, value in each["metrics"].items()
        if value is not None
    ]
    tree: dict[str, Any] = {
        "library_name": "wsis",
        "pipeline_tag": "image-segmentation",
        "license": licence,
        "datasets": [recipe.data.dataset],
        "tags": ["instance-segmentation", "weakly-supervised", recipe.method],
    }
    if values:
        tree["model-index"] = [
            {"name": about["run"], "results": [{"task": task, "dataset": data, "metrics": values}]}
        ]
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def _summary(recipe: Recipe, about: dict[str, Any], told: dict[str, Any]) -> str:
    learnt = SUPERVISION.get(recipe.data.supervision, recipe.data.supervision)
    does = "Gives a mask to each box" if _fills(recipe) else "Finds objects and their masks"
    kinds = len(about["categories"])
    return f"{does} of {kinds} class{'es' if kinds > 1 else ''}. It learnt from {learnt}."


def _best(told: dict[str, Any]) -> list[str]:
    """Which weights these are, where some were chosen by validation."""
    if not (best := told.get("best")):
        return []
    number = len(told["validations"])
    text = (
        f"weights after {best['iteration']} iterations, the best AP ({best.get('AP', 0.0):.2f}) of {number}"
    )
    return [f"{text} validations during training; the last ones: last.safetensors"]


def _fills(recipe: Recipe) -> bool:
    from wsis.methods import info_of

    return info_of(recipe.method).fills_boxes


def _table(measured: list[dict[str, Any]]) -> str:
    """A line a metric, in per cent."""
    lines = ["| protocol | metric | value |", "|---|---|---:|"]
    for each in measured:
        for name, value in each["metrics"].items():
            if value is not None:
                lines.append(f"| {each['protocol']} | {name} | {value:.2f} |")
    images = ", ".join(sorted({str(each["images"]) for each in measured}))
    return "\n".join(lines) + f"\n\nIn per cent, on {images} images."


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
