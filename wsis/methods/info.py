"""What a method says of itself without torch: the plan, the workflow and the report ask nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wsis.declare.base import Spec

if TYPE_CHECKING:
    from wsis.declare.recipe import Recipe
    from wsis.measures.measure import MeasureSet

Tree = dict[str, Any]


@dataclass(frozen=True)
class Pictures:
    """Sheets of pictures that show what a trained run does.

    words:    what they show, in a few words
    draw:     "module:function", imported when they are drawn; `wsis.pictures.subject.Subject` -> its sheets
    rows:     (table, row label) whose runs of the first seed have them in reports
    of_masks: whether they are drawn of runs trained on the method's masks, instead of the method's runs
    beside:   (table, row label) whose run of the same seed is shown, too, beside those of `rows`
    """

    words: str
    draw: str
    rows: tuple[tuple[str, str], ...] = ()
    of_masks: bool = False
    beside: tuple[str, str] | None = None


@dataclass(frozen=True)
class Stages:
    """A row that runs as two recipes: a network that makes proxy masks, and one that is trained on them.

    first:  dotted keys, laid on the declared recipe
    second: dotted keys, laid on `base`; None where nothing is trained on the masks
    base:   named recipe of the second, '<paper>/<name>'
    """

    first: Mapping[str, Any]
    second: Mapping[str, Any] | None = None
    base: str = ""


@dataclass(frozen=True)
class Fit:
    """How a training outside of tables, on somebody's own images, begins (`wsis fit`).

    recipe:      named recipe whose settings it has where nothing else is chosen, '<paper>/<name>'
    supervision: what it learns from, a `data.supervision`
    """

    recipe: str
    supervision: str = "boxes"


@dataclass(frozen=True)
class Info:
    """One method. A key that is left out means that the method is an ordinary detector.

    network:     "module:Class", imported when it is built, with a settled recipe and the number of classes
    like:        the method whose settings and costs it has at a scale that gives none for it
    section:     its section of a recipe, which stands under the method's name
    heads:       the values of `model.head` that it brings
    details:     the values of `model.details` that it tells apart, or has no use for
    networks:    those heads whose network is another than `network` -> its "module:Class"; such a network has
                 no base that is trained alone, and learns from boxes
    features:    the kinds of features that it takes of a backbone (`wsis.nn.backbones`); empty: it has no
                 network; None: it takes what it likes
    fills_boxes: whether it makes masks of given boxes, which are measured class-agnostic
    supervision: the kinds of `data.supervision` that it learns from; empty: any
    base:        whether it has a base that is trained alone (`model.trained`)
    variants:    variant -> dotted keys that it fills in, beside those of wsis/declare/variant.py
    of_heads:    head -> dotted keys that it has in every variant, where a variant's are made for another head
    readings:    dotted keys that a prediction reads and no training: rows that differ in them share one
    second:      its dotted keys -> those of the second stage's recipe, for a user's settings
    stages:      declared recipe -> the two recipes that it runs as; None: it is one run
    teacher:     declared recipe, and the user's settings (dotted keys) -> named recipe ('<paper>/<name>') of
                 the network whose masks of the training images it learns from; None: of none
    continues:   settled recipe -> dotted keys that make it the run that it continues at `schedule.until`
    keep_proportions: changes the method's section of a recipe at a scale, so that its keys keep their share
                 of the schedule or the data. Arguments: the recipe as a tree, the published one, the
                 scale's decisions and the user's (dotted keys).
    sync_norm:   whether its code synchronises batch norm over devices
    busy:        dotted keys under which an untrained network does all that a trained one does, for benches
    benches:     name of a `wsis bench` command -> "module:function", whose arguments are the command's
    pictures:    several kinds; of a run the first that fits it is drawn
    measures:    sets of measures that come with the method, for tables and figures
    fit:         how it is fitted to somebody's own images, or a sentence that says why it can't be
    providers:   `model.provider` -> "module:Class" of its network from another library than torchvision
    checkpoints: "module:name" of the `wsis.methods.checkpoints.Source`s whose official weights it takes
    """

    name: str
    network: str
    like: str | None = None
    section: type[Spec] | None = None
    heads: tuple[str, ...] = ()
    details: tuple[str, ...] = ("own", "official")
    networks: Mapping[str, str] = field(default_factory=dict)
    features: tuple[str, ...] | None = None
    fills_boxes: bool = False
    supervision: tuple[str, ...] = ()
    base: bool = False
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    of_heads: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    readings: tuple[str, ...] = ()
    second: Mapping[str, str] = field(default_factory=dict)
    stages: Callable[[Recipe], Stages | None] | None = None
    teacher: Callable[[Recipe, Tree], str | None] | None = None
    continues: Callable[[Recipe], dict[str, Any] | None] | None = None
    keep_proportions: Callable[[Tree, Recipe, Tree, Tree], None] | None = None
    sync_norm: bool = False
    busy: Mapping[str, Any] = field(default_factory=dict)
    benches: Mapping[str, str] = field(default_factory=dict)
    pictures: tuple[Pictures, ...] = ()
    measures: tuple[MeasureSet, ...] = ()
    fit: Fit | str = "it has no settings of its own for that"
    providers: Mapping[str, str] = field(default_factory=dict)
    checkpoints: str = ""

    @property
    def baseline(self) -> bool:
        """Whether it makes its masks without a network."""
        return self.features == ()

    @property
    def whole_images(self) -> bool:
        """Whether it learns from whole images, or from none, instead of crops or patches of one size."""
        return self.baseline or self.features in (None, ("pyramid",))

    def has_head(self, head: str) -> bool:
        """Whether it brings a `model.head`; one without any takes all, and so does one without a network."""
        return not self.heads or self.baseline or head in self.heads

    def learns_from(self, head: str) -> tuple[str, ...]:
        """The kinds of `data.supervision` that it learns from with a head; empty: any."""
        return ("boxes",) if head in self.networks else self.supervision
