"""What a method says of itself without torch: the plan, the workflow and the report ask nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Info:
    """One method. A key that is left out means that the method is an ordinary detector.

    network: "module:Class", imported when it is built, with a settled recipe and the number of classes.
    """

    name: str
    network: str
