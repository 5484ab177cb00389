"""`wsis merge`: archives of `wsis share` into a results folder, so that two groups fill one table.

An archive is a stranger's: every file is one that a scale's results have, is in the manifest with its digest,
and says the run that its folder is named after. All archives are unpacked and looked at beside the results
before any of them changes. Their reports stay where they are: a new one is rendered from the runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from wsis.declare.stored import MODEL, stored_recipe
from wsis.errors import WsisError
from wsis.files import read_json, read_keys, write_json
from wsis.finished import LEFT_OUT, PREDICTIONS
from wsis.results.share import FORMAT, MANIFEST, TOLD
from wsis.results.writer import held

DIFFERING = ("refuse", "keep", "take")  # what to do with results that differ from those here
LARGEST = 1 << 26  # bytes of a manifest
_NAME = r"[A-Za-z0-9_-][A-Za-z0-9_.-]*"
_FILES = "|".join(re.escape(name) for name in (*TOLD, MODEL, PREDICTIONS))
_RUN = rf"runs/(?P<run>{_NAME}-[0-9a-f]{{10}})/(?:{_FILES}|pictures/{_NAME}\.(?:json|png|jpg))"
_MEASURE = rf"measures/(?P<measure>{_NAME}/{_NAME}\.json)"


@dataclass
class Part:
    """A run's folder or a measurement's file. name: below results/<scale>; path: where it was unpacked."""

    name: str
    path: Path
    archive: Path


@dataclass
class Merged:
    """Names of what was added, of what was there already, and of what differed and was kept or taken."""

    scale: str
    added: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)  # runs that start from other weights than those here


def merge(archives: Sequence[Path], results: Path, differing: str = "refuse") -> list[Merged]:
    """Add the runs and measurements of archives to `results`; what came of it for each scale.

    What is there with the same result (recipe, weights, numbers) stays as it is. differing: one of DIFFERING,
    for results of another content: refuse everything, keep those that are here, or take the archives'. A run
    that is being trained here is never replaced. Raises WsisError for an archive that can't be trusted, and
    where it refuses; nothing is changed then.
    """
    results.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".merge-", dir=results) as staging:
        scales: dict[str, dict[str, Part]] = {}
        done: dict[str, Merged] = {}
        others: list[str] = []
        for number, archive in enumerate(archives):
            scale, parts = unpack(archive, Path(staging) / str(number))
            there, merged = scales.setdefault(scale, {}), done.setdefault(scale, Merged(scale))
            for part in parts:
                before = there[part.name].path if part.name in there else results / scale / part.name
                if not before.exists():
                    there[part.name] = part
                    merged.added.append(part.name)
                elif (text := _difference(before, part.path)) is None:
                    merged.same.append(part.name)
                elif differing == "refuse":
                    others.append(f"{part.name} ({text}; {archive})")
                elif differing == "keep":
                    merged.kept.append(part.name)
                else:
                    there[part.name] = part
                    merged.taken.append(part.name)
        if others:
            more = f" and {len(others) - 3} more" if len(others) > 3 else ""
            raise WsisError(
                f"other results are here already: {', '.join(others[:3])}{more}; nothing was merged:"
                " --differing keep leaves them, --differing take replaces them"
            )
        written = [
            id for merged in done.values() for name in merged.taken if (id := _written(results, merged, name))
        ]
        if written:
            raise WsisError(f"{', '.join(written)}: being trained here; nothing was merged")
        now = time.time()
        for scale, parts in scales.items():
            for part in parts.values():
                _place(part, results / scale / part.name, now)
            done[scale].orphans = [*_orphans(results / scale, parts)]
    return list(done.values())


def told(merged: Merged) -> list[str]:
    """What was merged, in lines."""
    line = f"{merged.scale}: {_counted(merged.added)} added"
    for names, words in (
        (merged.same, "were here"),
        (merged.taken, "replaced"),
        (merged.kept, "of ours kept"),
    ):
        line += f", {_counted(names)} {words}" if names else ""
    lines = [f"{line}; next: wsis report --scale {merged.scale}"]
    if orphans := merged.orphans:
        lines.append(
            f"{len(orphans)} of them start from other weights than those here, and are stale in a report"
            f" ({', '.join(orphans[:3])}{', ...' if len(orphans) > 3 else ''})"
        )
    return lines


def _counted(names: Sequence[str]) -> str:
    """'12 runs and 3 measurements'."""
    runs = sum(name.startswith("runs/") for name in names)
    counts = ((runs, "run"), (len(names) - runs, "measurement"))
    return " and ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts if n) or "nothing"


def unpack(archive: Path, folder: Path) -> tuple[str, list[Part]]:
    """Unpack an archive's runs and measurements into `folder`: its scale, and what it holds.

    Raises WsisError for one that was cut, is of another version, or holds a link, a path that leaves the
    results, a file that the manifest doesn't have as it is, or a run of another recipe.
    """
    try:
        with tarfile.open(archive, "r|gz") as tar:
            members = iter(tar)
            scale, listed = _manifest(archive, tar, next(members, None))
            _has_room(archive, folder, listed)
            known = re.compile(rf"results/{re.escape(scale)}/(?:{_RUN}|{_MEASURE})")
            left = dict(listed)
            names: dict[str, None] = {}
            for member in members:
                if not member.isreg():
                    raise WsisError(f"{archive}: {member.name} is a link or no plain file")
                entry = left.pop(member.name, None)
                if entry is None:
                    raise WsisError(f"{archive}: {member.name} is not in its manifest, or is there twice")
                found = known.fullmatch(member.name)
                if found is None and not _of_report(member.name, scale):
                    raise WsisError(f"{archive}: {member.name} is no file of the results of scale {scale}")
                content = tar.extractfile(member)
                to = folder / member.name if found else None
                if _copied(content, to, entry["bytes"]) != (entry["bytes"], entry["sha256"]):
                    raise WsisError(
                        f"{archive}: {member.name} is not as its manifest says: it was changed or cut"
                    )
                if found:
                    run = found["run"]
                    names[f"runs/{run}" if run else f"measures/{found['measure']}"] = None
            if left:
                raise WsisError(f"{archive}: {next(iter(left))} is missing ({len(left)} files): it was cut")
    except FileNotFoundError:
        raise WsisError(f"{archive}: no such file") from None
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise WsisError(f"{archive}: can't be read as an archive of `wsis share`: {error}") from None
    base = folder / "results" / scale
    for name in names:
        _check(base / name, scale, archive, folder)
    return scale, [Part(name, base / name, archive) for name in names]


def _manifest(
    archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo | None
) -> tuple[str, dict[str, Any]]:
    """The scale and the files of the manifest, an archive's first member."""
    if member is None or member.name != MANIFEST or not member.isreg() or member.size > LARGEST:
        raise WsisError(f"{archive}: no archive of `wsis share`: it doesn't begin with {MANIFEST}")
    try:
        content = json.loads(tar.extractfile(member).read())
        if content["format"] != FORMAT:
            raise WsisError(
                f"{archive}: of format {content['format']}, by wsis {content.get('wsis')}; this version reads"
                f" format {FORMAT}: share it again with the same version"
            )
        scale, files = content["scale"], content["files"]
        right = all(entry.keys() >= {"bytes", "sha256"} and entry["bytes"] >= 0 for entry in files.values())
        if not right or not re.fullmatch(_NAME, scale):
            raise ValueError("a wrong entry")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WsisError(f"{archive}: {MANIFEST} is not as `wsis share` writes it: {error!r}") from None
    return scale, files


def _has_room(archive: Path, folder: Path, listed: dict[str, Any]) -> None:
    wanted, free = sum(entry["bytes"] for entry in listed.values()), shutil.disk_usage(folder.parent).free
    if wanted > free:
        raise WsisError(f"{archive}: needs {wanted / 1e9:.1f} GB, and the disk has {free / 1e9:.1f} left")


def _of_report(name: str, scale: str) -> bool:
    parts = name.split("/")
    return parts[:2] == ["reports", scale] and not {"", ".", ".."} & {*parts}


def _copied(content: Any, to: Path | None, size: int) -> tuple[int, str]:
    """Bytes and SHA-256 of a member, written to a file unless None; reads at most a byte above `size`."""
    sha, read = hashlib.sha256(), 0
    if to is not None:
        to.parent.mkdir(parents=True, exist_ok=True)
    with open(to or os.devnull, "wb") as file:
        while block := content.read(min(1 << 20, size + 1 - read)):
            sha.update(block)
            file.write(block)
            read += len(block)
    return read, sha.hexdigest()


def _check(path: Path, scale: str, archive: Path, staging: Path) -> None:
    """Raise WsisError where what was unpacked is not the run, or the measurement, that its name says."""
    try:
        if path.suffix == ".json":
            content = read_keys(path, "set", "key", "values")
            if (content["set"], content["key"]) != (path.parent.name, path.stem):
                raise WsisError(f"{path}: measures {content['set']} of {content['key']}")
            return
        told = read_keys(path / "recipe.json", "id", "scale", "recipe")
        if told["scale"] != scale or not told["id"] == stored_recipe(path).id == path.name:
            raise WsisError(f"{path / 'recipe.json'}: the recipe of another run")
        if read_keys(path / "train.json", "recipe", "weights")["recipe"] != path.name:
            raise WsisError(f"{path / 'train.json'}: of another run")
        if (path / "metrics.json").exists():
            read_keys(path / "metrics.json", "protocol", "metrics")
    except WsisError as error:
        raise WsisError(f"{archive}: {str(error).replace(f'{staging}/', '')}") from None


def _difference(here: Path, other: Path) -> str | None:
    """How the results in two folders of one run, or two files of a measurement, differ; None for the same."""
    if other.suffix == ".json":
        same = [read_json(path) for path in (here, other)]
        return None if _numbers(same[0]) == _numbers(same[1]) else "other values"
    if not (here / "train.json").exists():
        return "not finished here"
    reads: dict[str, Callable[[Path], Any]] = {
        "another recipe": lambda folder: stored_recipe(folder).model_dump(mode="json"),
        "other weights": lambda folder: read_json(folder / "train.json").get("weights"),
        "other numbers": lambda folder: _numbers_of_run(folder / "metrics.json"),
    }
    return next((text for text, read in reads.items() if read(here) != read(other)), None)


def _numbers(measured: Any) -> Any:
    return [measured.get(key) for key in ("values", "weights", "curves")]


def _numbers_of_run(path: Path) -> Any:
    content = read_json(path) if path.exists() else {}
    return [{key: each.get("metrics") for key, each in {"": content, **content.get("also", {})}.items()}]


def _written(results: Path, merged: Merged, name: str) -> str | None:
    """The run's id where a process trains it in the results."""
    folder = results / merged.scale / name
    return folder.name if folder.is_dir() and held(folder) else None


def _place(part: Part, to: Path, now: float) -> None:
    """Move a part into its place. All files get one time: none is then older than what it was made from.

    A run says what it came without: it is finished all the same.
    """
    if part.path.is_dir():
        without = [name for name in (MODEL, PREDICTIONS) if not (part.path / name).exists()]
        write_json(part.path / LEFT_OUT, {"files": without})
    for path in (part.path, *part.path.rglob("*")):
        os.utime(path, (now, now))
    to.parent.mkdir(parents=True, exist_ok=True)
    if to.is_dir():
        os.rename(to, part.path.with_name(f"{part.path.name}.before"))
    os.replace(part.path, to)


def _orphans(folder: Path, parts: dict[str, Part]) -> Iterator[str]:
    """The merged runs that were trained from other weights than their parents here have."""
    for name in parts:
        record = folder / name / "train.json"
        told = read_json(record) if record.exists() else {}
        for began in (told.get("parent"), told.get("proxy")):
            path = folder / "runs" / began["id"] / "train.json" if began else None
            if path and path.exists() and read_json(path).get("weights") != began["weights"]:
                yield Path(name).name
                break
