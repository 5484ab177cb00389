"""The small files of a run and what each holds: read and written here alone, with a checksum beside each.

A file that is empty, cut, of another type, out of range or another run's is refused with one line, so that
its run alone is repeated or left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wsis.checksums import sealed, verify
from wsis.errors import WsisError
from wsis.files import encoded, read_json

Percent = Annotated[float, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0)]


class ForeignFile(WsisError):
    """A file of another run than the one whose folder it lies in."""


class Record(BaseModel):
    """Keys that programs read, and their types; what else there is may be anything."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class RecipeRecord(Record):
    """recipe.json: the settings of a training, and those that the user gave."""

    id: str | None = None
    scale: str | None = None
    recipe: dict[str, Any]
    asked: dict[str, Any] | None = None


class Data(Record):
    root_name: str | None
    fingerprint: str | None
    path: str | None = None
    classes: str | None = None
    evaluation: str | None = None


class Origin(Record):
    """What a run starts from or learns from."""

    id: str
    weights: str | None
    drop_rate: Annotated[float, Field(ge=0, le=1)] | None = None


class TrainRecord(Record):
    """train.json, the last file of a finished run, and its copy checkpoints/finished.json.

    weights, predictions: digests of these files
    """

    recipe: str
    scale: str | None = None
    seconds: Annotated[float, Field(ge=0)] | None = None
    iterations: Count | None = None
    losses: dict[str, float] | None = None
    code: str | None = None
    weights: str | None = None
    predictions: str | None = None
    deviations: list[str] = []
    data: Data | None = None
    parent: Origin | None = None
    proxy: Origin | None = None


class MetricsRecord(Record):
    """metrics.json. predictions: digest of the file that was evaluated."""

    recipe: str | None = None
    protocol: str
    metrics: dict[str, Percent | None]
    groups: dict[str, dict[str, Percent | None]] = {}
    images: Count | None = None
    detections: Count | None = None
    predictions: str | None = None
    also: dict[str, MetricsRecord] = {}


class EnvironmentRecord(Record):
    run: str | None = None
    python: str | None = None
    packages: dict[str, str | None] = {}
    cuda: str | None = None
    commit: str | None = None
    modified: bool | None = None
    device: str | None = None
    cores: Count | None = None


class Category(Record):
    id: int
    name: str


class AboutRecord(Record):
    """model.json."""

    run: str
    categories: list[Category]
    rows: list[list[str]] = []
    protocols: list[str]


class TrainedRecord(Record):
    """checkpoints/trained.json: a training that ended, and what train.json will say of it.

    weights: digest of the file of weights
    """

    recipe: str
    summary: dict[str, Any]
    weights: str | None = None


class OriginRecord(Record):
    """checkpoints/origin.json: digests of the weights that it started from, or whose masks it learns."""

    parent: str | None
    proxies: str | None


class MeasuredRecord(Record):
    """measures/<set>/<key>.json."""

    set: str | None = None
    key: str | None = None
    code: str | None = None
    weights: str | None = None
    values: dict[str, dict[str, float | None]]
    details: dict[str, Any] = {}
    curves: list[dict[str, Any]] = []


class ValidationRecord(Record):
    """checkpoints/validation/done.json: metrics on the way of a training, and which weights are the best."""

    validations: list[dict[str, float]]
    best: dict[str, float] | None


# File -> what it holds, and the key with its run's id.
FORMS: dict[str, tuple[type[Record], str | None]] = {
    "recipe.json": (RecipeRecord, "id"),
    "train.json": (TrainRecord, "recipe"),
    "finished.json": (TrainRecord, "recipe"),
    "trained.json": (TrainedRecord, "recipe"),
    "origin.json": (OriginRecord, None),
    "done.json": (ValidationRecord, None),
    "metrics.json": (MetricsRecord, "recipe"),
    "environment.json": (EnvironmentRecord, "run"),
    "model.json": (AboutRecord, "run"),
}


def read_record(path: Path, run: str | None = None, form: type[Record] | None = None) -> dict[str, Any]:
    """The content of a file of FORMS, or of another with the form that is given.

    run: the id that it must name, where it names one. Raises WsisError naming the file, and DamagedFile.
    """
    verify(path)
    content = read_json(path, strict=True)
    known, key = FORMS.get(path.name, (Record, None))
    try:
        (form or known).model_validate(content)
    except ValidationError as error:
        raise WsisError(f"{path}: {complaint(error)}") from None
    if run is not None and key and content.get(key) not in (None, run):
        raise ForeignFile(f"{path}: of {content[key]}, not of {run}")
    return content


def sound(path: Path, run: str | None = None) -> bool:
    """Whether a file of FORMS is there and whole."""
    try:
        return bool(read_record(path, run))
    except WsisError:
        return False


def write_record(path: Path, content: Any) -> None:
    """`wsis.files.write_json`, with a checksum."""
    text = encoded(content)
    with sealed(path) as file:
        file.write(text)


def complaint(error: ValidationError) -> str:
    """The first fault that pydantic found: 'metrics.AP: Input should be ... (got 140)'."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "the file"
    given = "" if first["type"] == "missing" else f" (got {first['input']!r:.40})"
    return f"{place}: {first['msg']}{given}"
