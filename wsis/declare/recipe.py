"""A recipe: everything that determines a training, validated and content-addressed.

Its sections lie in `wsis.declare.specs`, those of single methods in their rooms. `variant` chooses between
the paper's equations and what the released code does; the keys it governs are null until `Recipe.settled`
fills them, so that a recipe file shows only what somebody decided.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache, reduce
from typing import Annotated, Any, Literal

from pydantic import create_model, model_validator

from wsis.declare.base import Count, Spec, one_of
from wsis.declare.specs.data import SCALE_JITTER, DataSpec
from wsis.declare.specs.loss import LossSpec
from wsis.declare.specs.model import ModelSpec
from wsis.declare.specs.parents import InitSpec, ProxySpec
from wsis.declare.specs.predict import PredictSpec
from wsis.declare.specs.schedule import ScheduleSpec
from wsis.declare.variant import governed
from wsis.methods import early_infos, info_of, infos


class _Learning(Spec):
    """What learns which function of which data."""

    method: Annotated[str, one_of("method", infos)]
    variant: Literal["paper", "released"] = "paper"
    data: DataSpec = DataSpec()
    model: ModelSpec = ModelSpec()
    loss: LossSpec = LossSpec()


SECTIONS = {name: info.section for name, info in early_infos().items() if info.section is not None}
_FIELDS: dict[str, Any] = {name: (spec | None, None) for name, spec in SECTIONS.items()}
_WithSections: Any = create_model("_WithSections", __base__=_Learning, **_FIELDS)


class Recipe(_WithSections):
    """A training from data to predictions. `Recipe.id` names its folder under results/<scale>/runs/.

    A method that has a section of its own (`Info.section`) has it under its name.
    """

    schedule: ScheduleSpec = ScheduleSpec()
    init: InitSpec | None = None
    proxy: ProxySpec | None = None  # supervision 'proxy': masks that another run made
    predict: PredictSpec = PredictSpec()
    seed: Count = 0

    @property
    def section(self) -> Spec | None:
        """The section of the recipe's own method; None where the method has none."""
        return getattr(self, self.method) if self.method in SECTIONS else None

    @property
    def normalise(self) -> Literal["batch", "device"]:
        """`loss.normalise`, or what the variant does: the equations' means are over the batch."""
        return self.loss.normalise or ("batch" if self.variant == "paper" else "device")

    @property
    def sync_norm(self) -> bool:
        """`schedule.sync_norm`, or what the method's code does."""
        asked = self.schedule.sync_norm
        return info_of(self.method).sync_norm if asked is None else asked

    @model_validator(mode="after")
    def _own_section(self) -> Recipe:
        for name in SECTIONS:
            if getattr(self, name) is not None and self.method != name:
                raise ValueError(f"section '{name}' is only for method '{name}', not '{self.method}'")
        if self.method in SECTIONS and self.section is None:
            raise ValueError(f"method '{self.method}' needs the section '{self.method}'")
        return self

    @model_validator(mode="after")
    def _method_can(self) -> Recipe:
        info, head = info_of(self.method), self.model.head
        if not info.has_head(head) and head != ModelSpec().head:  # the default stands for none that is named
            raise ValueError(f"method '{self.method}' has no head '{head}' (it has: {', '.join(info.heads)})")
        kinds = info.learns_from(head)
        if kinds and self.data.supervision not in kinds:
            method = f"'{self.method}'" + (f" with head '{head}'" if head in info.networks else "")
            raise ValueError(
                f"method {method} learns from {' or '.join(kinds)}: data.supervision is"
                f" '{self.data.supervision}'"
            )
        if self.model.details not in (None, *info.details):
            raise ValueError(
                f"method '{self.method}' has the details {' or '.join(info.details)}: model.details is"
                f" '{self.model.details}'"
            )
        if self.model.trained == "masks" and self.init is None:
            raise ValueError("model.trained 'masks' needs a trained base to start from (init.parent)")
        trained = self.model.trained
        if (trained == "base" and not info.base) or (trained != "all" and head in info.networks):
            method = f"'{self.method}'" + (f" with head '{head}'" if info.base else "")
            raise ValueError(f"model.trained '{trained}': method {method} has no base that is trained alone")
        return self

    @model_validator(mode="after")
    def _whole_images(self) -> Recipe:
        if self.data.augment == SCALE_JITTER and not info_of(self.method).whole_images:
            raise ValueError(f"data.augment '{SCALE_JITTER}': method '{self.method}' learns from image crops")
        return self

    @model_validator(mode="after")
    def _one_class(self) -> Recipe:
        if self.data.classes == "one" and self.data.supervision not in ("boxes", "masks", "proxy"):
            raise ValueError(f"data.classes 'one': supervision '{self.data.supervision}' tells classes apart")
        return self

    @model_validator(mode="after")
    def _edges_for_proposed(self) -> Recipe:
        if self.loss.full == "proposed" and self.loss.pairwise is None:
            raise ValueError("loss.full 'proposed' needs loss.pairwise: its neighbourhood defines the edges")
        return self

    def settled(self) -> Recipe:
        """This recipe with every null that `variant` governs filled in; a decided value always wins."""
        return _settled(self)

    def canonical(self) -> str:
        """Canonical JSON: settled, keys sorted, defaults stripped, floats in shortest form."""
        tree = self.settled().model_dump(mode="json", exclude_defaults=True)
        if self.settled().model.details == _governed(self)["model.details"]:
            del tree["model"]["details"]  # ids are older than the key
        return json.dumps(_floats(tree), sort_keys=True, separators=(",", ":"))

    @property
    def id(self) -> str:
        """`<method>-<10 hex>`; equal recipes have equal ids whatever file or table they come from."""
        return _id(self)


# A plan asks hundreds of recipes for their ids thousands of times. They are remembered by value: a recipe is
# frozen, and a changed copy of it is another key.


@cache
def _settled(recipe: Recipe) -> Recipe:
    tree = recipe.model_dump(mode="json")
    filled = False
    for dotted, value in _governed(recipe).items():
        *path, key = dotted.split(".")
        part = reduce(lambda part, name: part and part[name], path, tree)
        if part is not None and part[key] is None:
            part[key], filled = value, True
    return Recipe.model_validate_json(json.dumps(tree)) if filled else recipe


def _governed(recipe: Recipe) -> dict[str, Any]:
    return governed(recipe.method, recipe.variant, recipe.model.backbone, recipe.model.head)


@cache
def _id(recipe: Recipe) -> str:
    return f"{recipe.method}-{hashlib.sha256(recipe.canonical().encode()).hexdigest()[:10]}"


def _floats(value: Any) -> Any:
    """Integral floats become integers, so that 1, 1.0 and 1e0 hash alike."""
    if isinstance(value, dict):
        return {key: _floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_floats(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
