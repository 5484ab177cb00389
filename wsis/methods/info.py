"""What a method says of itself without torch: the plan, the workflow and the report ask nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Info:
    """One method. A key that is left out means that the method is an ordinary detector.

    network: "module:Class", imported when it is built, with a settled recipe and the number of classes.
    benches: name of a `wsis bench` command -> "module:function", whose arguments are the command's.
    """

    name: str
    network: str
    benches: Mapping[str, str] = field(default_factory=dict)
