"""A paper as declared in `ablations/<paper>/paper.yaml`; its tables and figures lie in the same folder."""

from __future__ import annotations

from pydantic import Field

from wsis.declare.base import Positive, Spec


class Face(Spec):
    """What a reader sees of the paper first: its claim in a sentence, one picture of masks and one sweep."""

    sentence: str
    masks: str  # number of the table whose masks are shown
    rows: tuple[str, ...]  # of these rows, below the ground truth
    plot: str  # number of the table whose plot is shown


class Paper(Spec):
    """What a reader calls the paper, and how to cite it."""

    name: str  # the method's short name, which stands above its tables
    title: str
    authors: tuple[str, ...]
    year: Positive
    venue: str | None = None  # where it was published
    links: dict[str, str] = Field(default={})  # what there is -> its address
    bibtex: str
    face: Face | None = None
    order: int | None = None  # papers that have one come first, the lowest first; the others by their folder
