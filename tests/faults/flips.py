"""Flip bits in files of a finished chain: `wsis verify` names the file, and whoever reads it refuses it.

python -m tests.faults.flips --seed 1 --count 100       ends with 1 unless all are found, in both ways
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.faults.cases import unread
from tests.faults.chains import ROWS, SCALE
from tests.faults.damage import FLIPPED, damage
from tests.faults.load import loaded
from tests.faults.reference import undisturbed
from wsis.checksums import LIST, fault
from wsis.data.roots import open_root
from wsis.declare.stored import stored_recipe
from wsis.errors import WsisError
from wsis.evaluation.run import evaluate_run
from wsis.methods.weights import load_model
from wsis.proxy.generate import read_proxies
from wsis.records import MeasuredRecord, read_record
from wsis.report.curves import read_log
from wsis.report.pictures import read_pictures
from wsis.results.verify import verify_results


def read(path: Path, scale: Path) -> None:
    """Read a file as those who use it do. scale: results/<scale>, where it lies."""
    part, *below = path.relative_to(scale).parts
    folder = scale / part / below[0]
    readers: dict[str, Callable[[], object]] = {
        "model.safetensors": lambda: load_model(path),
        "predictions.json": lambda: evaluate_run(folder, path),
        "log.jsonl": lambda: read_log(path),
    }
    if part == "data":
        whole = (path.parent for path in sorted(scale.glob("runs/*/recipe.json")) if not fault(path))
        open_root(stored_recipe(next(whole)), folder)
    elif part == "measures":
        read_record(path, form=MeasuredRecord)
    elif below[1] == "pictures":
        read_pictures(folder)
    elif below[1] == "proxies":
        list(read_proxies(path))
    else:
        readers.get(path.name, lambda: read_record(path, folder.name))()


def kind_of(path: Path, scale: Path) -> str:
    """A file's path without ids and numbers."""
    return re.sub(r"-[0-9a-f]{8,10}|\d{6}", "*", str(path.relative_to(scale)))


def place_of(path: Path, scale: Path) -> Path:
    """The run, the root or the set of measures of a file: one damaged file may hide others of its place."""
    return scale.joinpath(*path.relative_to(scale).parts[:2])


def flipped(results: Path, draw: Random, count: int) -> tuple[Counter, list[str]]:
    """Flips by kind of file, of each as many, and what was not found; at once, one file of each place."""
    scale, kinds = results / SCALE, defaultdict[str, list[Path]](list)
    for path in sorted(scale.rglob("*")):
        known = path.name == LIST or not unread(str(path.relative_to(results.parent)))
        if known and path.is_file() and path.stat().st_size and path.parent != scale:
            kinds[kind_of(path, scale)].append(path)
    done, wrong, waiting = Counter[str](), list[str](), list[Path]()
    while done.total() < count:
        waiting = waiting or draw.sample([draw.choice(paths) for paths in kinds.values()], len(kinds))
        hit = {place_of(path, scale): path for path in waiting[: count - done.total()]}
        waiting = [path for path in waiting if path not in hit.values()]
        whole = {path: (path.read_bytes(), path.stat()) for path in hit.values()}
        for path in whole:
            damage(path, FLIPPED, draw)
        found = {finding.path for finding in verify_results(results)}
        for path, (content, status) in whole.items():
            if path not in found and not (path.name == LIST and any(path.parent in x.parents for x in found)):
                wrong.append(f"{path}: `wsis verify` doesn't name it: {sorted(map(str, found))}")
            wrong += not_refused(path, scale)
            done[kind_of(path, scale)] += 1
            path.write_bytes(content)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return done, wrong


def not_refused(path: Path, scale: Path) -> list[str]:
    """A line unless reading a file ends with an error that names it, or what its folder lists."""
    try:
        read(path, scale)
    except WsisError as error:
        named = path.parent if path.name == LIST else path
        return [] if str(error).startswith(str(named)) else [f"{path}: another error: {error}"]
    return [f"{path}: read without an error"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--papers", nargs="*", default=[*ROWS])
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    loaded()
    done, wrong = Counter[str](), list[str]()
    for number, paper in enumerate(arguments.papers):
        count = arguments.count // len(arguments.papers)
        count += number < arguments.count % len(arguments.papers)
        with tempfile.TemporaryDirectory() as base:
            results = undisturbed(paper, Path(base)).place / "results"
            its, unseen = flipped(results, Random(f"{arguments.seed} {paper}"), count)
        done += its
        wrong += unseen
    for kind, count in sorted(done.items()):
        print(f"{count:4} {kind}")
    print("".join(f"  {line}\n" for line in wrong), end="")
    print(f"{done.total()} flips, {len(wrong)} not found")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
