"""Tables, figures, claims and errata as declared in `ablations/<paper>/`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from wsis.declare.base import MOST, Overrides, Spec

METRICS = (  # of evaluation and training; measures come with the methods (wsis.measures.registry)
    "AP", "AP25", "AP50", "AP70", "AP75", "APS", "APM", "APL",  # per cent
    "AP_unseen", "AP50_unseen", "AP75_unseen",  # over the classes without masks (BoxInst, Sec. 3.6)
    "mIoU", "IoU50", "IoU75",  # class-agnostic segmentation of ground-truth boxes (BoxCaseg), per cent
    "drop_rate",  # share of dropped proxy masks (BoxCaseg, Table 8), 0 to 1
)  # fmt: skip


def _among(names_in: Callable[[ModuleType], Iterable[str]]) -> AfterValidator:
    """A validator of names: ValueError for one that `names_in` the measures' registry doesn't give."""

    def check(name: str) -> str:
        from wsis.measures import registry

        names = list(names_in(registry))
        if name in names:
            return name
        near = get_close_matches(name, names, n=4, cutoff=0.4) or names
        raise ValueError(f"no such metric or measure; the nearest are {', '.join(near)}")

    return AfterValidator(check)


# A column of a paper's, a column of ours, either, and the name of a set of measures.
Metric = Annotated[str, _among(lambda registry: (*METRICS, *registry.names(ours=False)))]
Measure = Annotated[str, _among(lambda registry: registry.names(ours=True))]
Quantity = Annotated[
    str, _among(lambda registry: (*METRICS, *registry.names(ours=False), *registry.names(ours=True)))
]
SetName = Annotated[str, _among(lambda registry: registry.sets())]
Printed = Annotated[float, Field(ge=-MOST, le=MOST)]
Label = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$")]
Identifier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]


class Row(Spec):
    """One row of a table: one we train (`train`), or one we quote (`quote`).

    A row of ours is trained and not in the paper: it has no values, and no part in what the paper claims.
    """

    label: Label
    # As printed, in the order of the table's columns; null: not printed. All null in a table's rows of ours.
    values: tuple[Printed | None, ...] = ()
    ours: bool = False
    train: Overrides | None = None  # overrides of the table's base recipe, dotted keys
    base: str | None = None  # another named recipe than the table's: '<name>', or '<paper>/<name>'
    quote: str | None = None  # the system whose published numbers these are, with its reference
    split: str | None = None  # where it differs from the table's
    protocol: str | None = None  # where its numbers follow another protocol than the table's
    note: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Row:
        if (self.train is None) == (self.quote is None):
            raise ValueError(f"row '{self.label}' needs exactly one of 'train' and 'quote'")
        if self.base is not None and self.train is None:
            raise ValueError(f"row '{self.label}' is quoted, so it has no 'base'")
        if self.ours and (self.quote is not None or any(value is not None for value in self.values)):
            raise ValueError(f"row '{self.label}' is ours: trained, and without printed values")
        return self

    @property
    def kind(self) -> Literal["train", "quote"]:
        return "train" if self.quote is None else "quote"


class Sweep(Spec):
    """The rows that are values of one knob: drawn as a curve."""

    axis: str  # what the knob is, as the reader knows it, with the paper's symbol
    points: dict[Label, float]  # row label -> position on the x axis
    metrics: tuple[Metric, ...]
    log: bool = False


class Cell(Spec):
    """A cell of a table: `table` defaults to the claim's own, as '<paper>/<table>'."""

    row: Label
    metric: Quantity | None = None
    table: str | None = None


class Claim(Spec):
    """A sentence of a paper that compares cells, made checkable.

    best, worst   `row` has the highest (lowest) `metric` among `among` (default: every other trained row
                  of the paper's)
    greater       `row` lies above `than` by more than `by`
    lower         `row` lies below `than` by more than `by`
    monotone      `rows`, in this order, rise (`direction: up`) or fall (`down`), neighbours not equal
    peak          `row` is highest and lies strictly inside `rows`: values rise up to it and fall after it
    insensitive   the largest difference within `rows` is below `within`
    near          `row` and `than` differ by less than `within`
    """

    id: Identifier
    text: str  # the sentence, shortened if need be
    section: str
    kind: Literal["best", "worst", "greater", "lower", "monotone", "peak", "insensitive", "near"]
    metric: Quantity
    row: Cell | None = None
    than: Cell | None = None
    rows: tuple[Cell, ...] = ()
    among: tuple[Label, ...] = ()
    by: float = 0.0
    within: float | None = None
    direction: Literal["up", "down"] | None = None
    note: str | None = None

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell that the claim names; the default rivals of `best` and `worst` are not among them."""
        named = [cell for cell in (self.row, self.than) if cell is not None]
        return (*named, *self.rows, *(Cell(row=label) for label in self.among))

    @model_validator(mode="before")
    @classmethod
    def _short_cells(cls, tree: Any) -> Any:
        """A cell of the same table and metric may be written as its row's label."""
        if isinstance(tree, dict):
            tree = dict(tree)
            for key in ("row", "than"):
                if isinstance(tree.get(key), str):
                    tree[key] = {"row": tree[key]}
            if isinstance(tree.get("rows"), list):
                tree["rows"] = tuple(
                    {"row": cell} if isinstance(cell, str) else cell for cell in tree["rows"]
                )
            if isinstance(tree.get("among"), list):
                tree["among"] = tuple(tree["among"])  # a strict tuple, once this validator made it Python's
        return tree

    @model_validator(mode="after")
    def _complete(self) -> Claim:
        needs = {
            "best": ("row",), "worst": ("row",), "greater": ("row", "than"), "lower": ("row", "than"),
            "monotone": ("rows", "direction"), "peak": ("row", "rows"),
            "insensitive": ("rows", "within"), "near": ("row", "than", "within"),
        }[self.kind]  # fmt: skip
        for key in needs:
            if not getattr(self, key):
                raise ValueError(f"claim '{self.id}' of kind '{self.kind}' needs '{key}'")
        return self


class Table(Spec):
    """A paper's table as data."""

    paper: str  # the folder's name
    table: Name
    title: str
    caption: str
    section: str
    dataset: Literal["coco", "voc"]
    split: str
    protocol: Literal["coco", "voc", "class-agnostic", "cost"]
    base: str  # a named recipe of the paper's recipe.yaml
    headline: bool = False
    columns: tuple[Metric, ...]
    header: tuple[str, ...]  # the columns as the paper prints them
    truncated: bool = False  # its numbers are cut off, not rounded
    measures: tuple[Measure, ...] = ()  # further columns, of ours
    rows: tuple[Row, ...]
    # The row whose difference to another is that row's effect: the baseline, or a sweep's default.
    reference: Label | None = None  # default: the first trained row
    reference_for: dict[Label, tuple[Label, ...]] = Field(default={})  # another one -> rows compared with it
    sweep: Sweep | None = None
    claims: tuple[Claim, ...] = ()
    note: str | None = None

    @property
    def key(self) -> str:
        """'<paper>/<table>', for example 'boxinst/1a'."""
        return f"{self.paper}/{self.table}"

    @property
    def file(self) -> str:
        """Name of its file: 'table1a.yaml' or 'table_main.yaml'."""
        return f"table{'' if self.table[0].isdigit() else '_'}{self.table}.yaml"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The paper's columns, then ours."""
        return (*self.columns, *self.measures)

    @property
    def labels(self) -> list[str]:
        return [row.label for row in self.rows]

    def row(self, label: str) -> Row:
        """The row with this label; KeyError if there is none."""
        return {row.label: row for row in self.rows}[label]

    def reference_of(self, label: str) -> str | None:
        """Label of the row that a row is compared with, its own for a reference; None if none is trained."""
        for reference, labels in self.reference_for.items():
            if label == reference or label in labels:
                return reference
        return self.reference or next((row.label for row in self.rows if row.kind == "train"), None)

    def published(self, row: Row) -> dict[str, float | None]:
        """Metric -> value as printed, in column order."""
        return dict(zip(self.columns, row.values, strict=True))

    @field_validator("rows")
    @classmethod
    def _nothing_printed(cls, rows: tuple[Row, ...], info: ValidationInfo) -> tuple[Row, ...]:
        """Rows of ours get a null a column, so that readers need not ask."""
        nothing = (None,) * len(info.data.get("columns", ()))
        return tuple(row.model_copy(update={"values": nothing}) if row.ours else row for row in rows)

    @model_validator(mode="after")
    def _consistent(self) -> Table:
        if len(self.header) != len(self.columns):
            raise ValueError(f"'header' has {len(self.header)} entries, 'columns' {len(self.columns)}")
        seen: set[str] = set()
        for row in self.rows:
            if row.label in seen:
                raise ValueError(f"duplicate row label '{row.label}'")
            seen.add(row.label)
            if len(row.values) != len(self.columns):
                raise ValueError(
                    f"row '{row.label}' has {len(row.values)} values, expected {len(self.columns)}"
                    f" ({', '.join(self.columns)})"
                )
        if len(set(self.measures)) != len(self.measures):
            raise ValueError("'measures' names one twice")
        trained = {row.label for row in self.rows if row.kind == "train"}
        named = [self.reference] if self.reference else []
        named += [label for key, labels in self.reference_for.items() for label in (key, *labels)]
        if untrained := sorted(set(named) - trained):
            raise ValueError(f"'reference' names what is no trained row: {', '.join(untrained)}")
        if twice := sorted({label for label in named if named.count(label) > 1}):
            raise ValueError(f"'reference_for' names a row twice: {', '.join(twice)}")
        if self.sweep and (unknown := set(self.sweep.points) - seen):
            raise ValueError(f"'sweep' names unknown rows: {', '.join(sorted(unknown))}")
        if self.sweep and (absent := set(self.sweep.metrics) - set(self.columns)):
            raise ValueError(f"'sweep' names metrics that are no columns: {', '.join(sorted(absent))}")
        return self


class Curve(Spec):
    """A published curve or the points of it that the text gives."""

    label: str
    metric: Literal["prop", "kept"]
    points: tuple[tuple[float, float], ...]


class Figure(Spec):
    """A published figure that a measurement without training redraws."""

    paper: str
    figure: Name
    title: str
    caption: str
    section: str
    measure: SetName  # that draws it
    dataset: Literal["coco", "voc"]
    split: str
    thresholds: tuple[float, ...]  # tau values at which both curves are measured
    published: tuple[Curve, ...]


class Erratum(Spec):
    """A contradiction inside a paper, or between the paper and its released code."""

    id: Identifier
    where: str  # section, equation or table
    about: tuple[str, ...] = ()  # tables it touches: '<paper>/<table>'
    paper: str  # what the paper says
    other: str  # what another place of it, or the released code, says
    source: Literal["paper", "code", "both", "silent"]
    follows: str  # which one the harness follows and why
