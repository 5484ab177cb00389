"""Run the parts of `wsis bench gpu`, each in a process with a time limit, and write what they found."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wsis.bench.gpu.page import page
from wsis.bench.gpu.parts import PACKAGE, TOTAL, Part, Setting, all_parts
from wsis.errors import WsisError
from wsis.files import read_lines, write_json, write_text

TAIL = 25  # lines of a failed part's output that the result keeps
GRACE = 5  # seconds between asking a part to end and ending it


def check(setting: Setting, names: Sequence[str], out: Path) -> bool:
    """Run these parts, or all, and write out/<device>.json and .md; True where nothing is amiss.

    A name also stands for the parts that begin with it: "steps". The files are written after every part.
    Raises WsisError where a card is asked for and none is seen, and for a name that no part has.
    """
    began, chosen = time.monotonic(), _chosen(names)
    result: dict[str, Any] = _about(setting)
    stem = re.sub(r"[^a-z0-9]+", "-", result["device"].lower()).strip("-")
    result["parts"] = {}
    threads = result["environment"]["cores"] if setting.accelerator == "cuda" else None
    for name, part in chosen.items():
        left = TOTAL - 2 * GRACE - (time.monotonic() - began)
        command = [sys.executable, "-m", f"{PACKAGE}.run", name, json.dumps(asdict(setting))]
        found = run(command, min(part.limit, left), threads) if left > 0 else _outcome("no time left")
        result["parts"][name] = {"about": part.about, **found}
        result["seconds"] = round(time.monotonic() - began, 1)
        told = f": {found['message']}" if found["message"] else ""
        print(f"{name}: {found['outcome']}, {found['seconds']:.0f} s{told}", flush=True)
        write_json(out / f"{stem}.json", result)
        write_text(out / f"{stem}.md", page(result))
    print(out / f"{stem}.md")
    return all(part["outcome"] in ("passed", "skipped") for part in result["parts"].values())


def _chosen(names: Sequence[str]) -> dict[str, Part]:
    parts = all_parts()
    for name in names:
        if not any(name in (part, part.split()[0]) for part in parts):
            raise WsisError(f"no part '{name}' of the check (there are: {', '.join(parts)})")
    return {name: part for name, part in parts.items() if not names or {name, name.split()[0]} & {*names}}


def _about(setting: Setting) -> dict[str, Any]:
    """The device, and what runs on it."""
    import torch

    from wsis.engine.devices import accelerator_of, driver
    from wsis.engine.environment import environment
    from wsis.engine.launch import device_name

    cards = accelerator_of(setting.accelerator) == "cuda"
    device = torch.device(setting.accelerator)
    there = environment(device)
    told = {key: there[key] for key in ("python", "cuda", "commit", "modified", "cores", "system")}
    return {
        "device": device_name(device),
        "devices": torch.cuda.device_count() if cards else 1,
        "dry_run": not cards,
        "date": time.strftime("%Y-%m-%d"),
        "environment": {"torch": torch.__version__, "driver": driver() if cards else None, **told},
    }


def run(command: list[str], limit: float, threads: int | None = None) -> dict[str, Any]:
    """Run a part and return its outcome after at most `limit` seconds and what GRACE gives it to end.

    command: gets the file for its rows as its last word; threads: of the processor, None for the usual number
    """
    with tempfile.TemporaryDirectory() as folder:
        rows, output = Path(folder) / "rows.jsonl", Path(folder) / "output"
        # Sums of cuBLAS in a fixed order, which the comparison of a resumed training asks for.
        environment = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        if threads:
            environment["OMP_NUM_THREADS"] = str(threads)
        began, late = time.monotonic(), False
        with output.open("wb") as file:
            child = subprocess.Popen(
                [*command, str(rows)],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
            try:
                child.wait(limit)
            except subprocess.TimeoutExpired:
                late = True
            finally:
                _end(child)
        seconds = time.monotonic() - began
        found = list(read_lines(rows)) if rows.exists() else []
        tail = output.read_text(errors="replace").splitlines()[-TAIL:]
    skipped = [row["skipped"] for row in found if "skipped" in row]
    faults = [f"{row['name']}: {fault}" for row in found for fault in row.get("faults", ())]
    failed = [row["failed"] for row in found if "failed" in row]
    found = [row for row in found if "name" in row]
    if skipped:
        return _outcome("skipped", seconds, skipped[0])
    if late:
        return _outcome(f"stopped after {limit:.0f} s", seconds, "; ".join(faults), found, tail)
    if child.returncode:
        told = failed or [f"ended with {child.returncode}", *tail[-1:]]  # killed, or by the device's driver
        return _outcome("failed", seconds, "; ".join([*faults, *told]), found, tail)
    return _outcome("faults" if faults else "passed", seconds, "; ".join(faults), found)


def _end(child: subprocess.Popen) -> None:
    """End a part and every process that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)


def _outcome(
    outcome: str,
    seconds: float = 0.0,
    message: str = "",
    rows: Sequence[dict[str, Any]] = (),
    output: Sequence[str] = (),
) -> dict[str, Any]:
    """outcome: "passed", "skipped", or what is amiss; output: the end of what the part printed."""
    told = {"outcome": outcome, "seconds": round(seconds, 1), "message": message, "rows": list(rows)}
    return told | ({"output": list(output)} if output else {})
