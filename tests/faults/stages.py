"""Which stage a command is in when it does an operation."""

from __future__ import annotations

from collections.abc import Sequence

from tests.faults.chains import Command
from tests.faults.process import Ended

# A training's command: until the file has its name, it is in the stage.
ENDS = (("model.safetensors", None), ("predictions.json", "prediction"), (".jsonl.gz", "proxies"))
STAGES = ("data", "first training", "last training", "prediction", "proxies", "record", "evaluation")
STAGES += ("measures", "pictures", "collection", "rendering")


def stages_of(command: Command, ended: Ended) -> list[str]:
    """The stage of each operation of a command that wasn't disturbed."""
    if command.run is None:
        return [command.stage] * len(ended.told)
    paths = [path if event == "os.rename" else "" for _, event, path in ended.told]
    stages, begin = ["record"] * len(paths), 0
    for name, stage in ENDS:
        if (end := _last(paths, name)) is not None:
            stages[begin : end + 1] = [stage or command.stage] * (end + 1 - begin)
            begin = end + 1
    return stages


def _last(paths: Sequence[str], name: str) -> int | None:
    """The last operation that gives a file its name."""
    there = [number for number, path in enumerate(paths) if path.endswith(name)]
    return there[-1] if there else None
