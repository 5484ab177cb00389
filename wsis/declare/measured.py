"""What a training image costs on a machine, as `wsis bench step` measured it: results/<scale>/costs.json.

{"scale", "device", "torch"   where it was measured
 "seconds_per_image"}         {"<method>/<backbone>": seconds of one device}
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field

from wsis.declare.base import Spec
from wsis.declare.load import DeclarationError, parse
from wsis.files import of_user, read_json, write_json

FILE = "costs.json"


class Measured(Spec):
    scale: str
    device: str
    torch: str
    seconds_per_image: dict[
        Annotated[str, Field(pattern=r"^[^/]+/[^/]+$")], Annotated[float, Field(gt=0, allow_inf_nan=False)]
    ]


def read_measured(path: Path) -> Measured:
    """The content of a file; DeclarationError names the key that is wrong."""
    return parse(Measured, read_json(path), str(path))


def write_measured(path: Path, measured: Measured) -> None:
    """Write `measured`, with what a file of the same device, scale and torch has beside it."""
    if path.exists():
        there = read_measured(path)
        if (there.scale, there.device, there.torch) == (measured.scale, measured.device, measured.torch):
            both = there.seconds_per_image | measured.seconds_per_image
            measured = measured.model_copy(update={"seconds_per_image": both})
    write_json(path, measured.model_dump(mode="json"))


def measured_costs(results: Path, scale: str, file: str | Path | None = None) -> Measured | None:
    """What was measured at a scale: in `file`, else in results/<scale>/costs.json, None where that isn't.

    Raises DeclarationError for a file that is named but not there, or is of another scale.
    """
    path = of_user(str(file), "costs") if file else results / scale / FILE
    if not os.path.exists(path):  # False for what can't be a name as well
        if file:
            raise DeclarationError(f"{path}: no such file; wsis bench step --scale {scale} --out {path}")
        return None
    measured = read_measured(path)
    if measured.scale != scale:
        raise DeclarationError(f"{path}: measured at scale {measured.scale}, not at {scale}")
    return measured
