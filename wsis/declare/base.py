"""What declared objects are made of: strict, frozen models, and the numbers and names that they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from wsis.errors import nearest_first

MOST = 10**9  # of whatever is counted: more is a slip, and sums of it stay exact
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0, le=MOST)]
Several = Annotated[int, Field(gt=1, le=MOST)]
Weight = Annotated[float, Field(ge=0, le=MOST)]
Count = Annotated[int, Field(ge=0, le=MOST)]
Key = Annotated[str, Field(max_length=200)]  # of a recipe, dotted
Overrides = dict[Key, Any]  # keys of a recipe -> values, checked where they are laid on one


class Spec(BaseModel):
    """Base of every declared object: unknown keys, wrong types, NaN and infinity are refused; frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def one_of(kind: str, there: Callable[[], Iterable[str]]) -> AfterValidator:
    """A validator of names: ValueError for one that is not among those there are."""

    def check(name: str) -> str:
        if name not in there():
            raise ValueError(f"no such {kind} (there are: {nearest_first(name, there())})")
        return name

    return AfterValidator(check)
