"""A part of `wsis bench gpu`, in its own process: python -m wsis.bench.gpu.run NAME SETTING ROWS."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from wsis.bench.gpu.parts import Setting, Skipped, all_parts

LONGEST = 400  # characters of an error that are kept


def run(name: str, setting: Setting, rows: Path) -> None:
    """Write the part's rows to a file of JSON lines, each when it is there."""
    with rows.open("a", encoding="utf-8") as file:

        def add(row: dict) -> None:
            file.write(json.dumps(row) + "\n")
            file.flush()

        try:
            for row in all_parts()[name].rows(setting, name.split()[1:]):
                add(row)
        except Skipped as reason:
            add({"skipped": str(reason)})
        except Exception as error:
            add({"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"[:LONGEST]})
            raise


if __name__ == "__main__":
    run(sys.argv[1], Setting(**json.loads(sys.argv[2])), Path(sys.argv[3]))
