"""Whether a chain that was hit left what an undisturbed one leaves; times and durations may differ."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from wsis.checksums import fault
from wsis.files import checksum_file

# Keys that tell durations, and what an environment was.
VARIES = {"seconds", "images_per_second", "resumed", "peak_memory", "packages", "modified", "commit"}
VARIES |= {"command"}
# Files whose content tells durations or files' times: that they are there and whole is asked.
TOLD = {"index.html", "rendered.json", "diff.json"}
# What a lock's file says holds only while a process has it.
LOCKS = {".writer", ".report.lock"}
LOGS = (
    "results/smoke/logs",
    "results/smoke/benchmarks",
    "results/smoke/jobs",
    "results/smoke/workflow.jsonl",
)
LOGS += (".snakemake",)
HALF = (".tmp", ".part", "fresh.pt", "last.pt", "previous.pt")


def differences(folder: Path, whole: Path) -> list[str]:
    """What is missing, half written, left over or of another content in `folder`, a line each."""
    here, there = names(folder), names(whole)
    found = [f"missing: {name}" for name in sorted(there - here)]
    found += [f"left over: {name}" for name in sorted(here - there)]
    for name in sorted(here & there):
        if not same(folder / name, whole / name):
            found.append(f"differs: {name}")
        elif checksum_file(whole / name).exists() and (text := fault(folder / name)):
            found.append(f"{name} {text}")
    return found


def names(folder: Path) -> set[str]:
    """Paths of all files below a folder that stay; drawings are named after the times of what they show."""
    every = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in every if not name.startswith(LOGS) and "/drawn/" not in name}


def half_written(folder: Path) -> list[str]:
    return [name for name in sorted(names(folder)) if name.endswith(HALF)]


def same(path: Path, other: Path) -> bool:
    """Whether two files of one name tell the same."""
    if path.name in LOCKS:
        return True
    if path.name in TOLD or path.name.endswith(".sha256"):
        return path.stat().st_size > 0 or other.stat().st_size == 0
    content, wanted = path.read_bytes(), other.read_bytes()
    if path.name == "README.md":  # of a run, which says how long it took
        content, wanted = (re.sub(rb"\d+ s on", b"", text) for text in (content, wanted))
    if content == wanted:
        return True
    try:
        return told(path.name, content) == told(path.name, wanted)
    except ValueError:
        return False


def told(name: str, content: bytes) -> Any:
    """The content of a JSON file, or one of JSON lines, without what varies; ValueError for others."""
    if name.endswith(".jsonl"):
        return [without(json.loads(line)) for line in content.splitlines()]
    return without(json.loads(content))


def without(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: without(value) for key, value in content.items() if key not in VARIES}
    return [without(value) for value in content] if isinstance(content, list) else content
