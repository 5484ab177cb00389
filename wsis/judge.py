"""Judge the user's roots before anything trains on them: `wsis data check`, as the runs of a plan read them.

A verdict is kept in results/<scale>/data/<group>.json and holds as long as the annotation files keep their
paths, sizes and times. Beside it <group>.seen.json has what results were last compared with:

{"roots", "uses"    what was judged, for whom
 "files"            {path: [bytes, nanoseconds]} of the annotation files; and, in the second file,
 "fingerprint"      of the training annotations, and
 "classes"          of the classes, as in train.json: what weights depend on
 "evaluation"       fingerprint of what metrics depend on}

A *group* is the runs that read the same splits of a data set for the same kind of supervision.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsis.data.check.report import READ_MASKS, Uses
from wsis.data.places import Roots, named_roots, salient_place, shapes_root
from wsis.declare.recipe import Recipe
from wsis.errors import WsisError
from wsis.files import read_json, write_json
from wsis.plan import Plan
from wsis.records import read_record, sound

SHOWN = 5  # problems in the message of a refusal


@dataclass
class Group:
    """Runs that read the user's root alike. recipe: of the first of them."""

    recipe: Recipe
    uses: Uses
    runs: list[str] = field(default_factory=list)


def groups(plan: Plan, runs: Iterable[str], predict_only: bool = False) -> dict[str, Group]:
    """The groups of those runs that read the user's data, by name."""
    named: dict[str, Group] = {}
    for run in runs:
        recipe = plan.runs[run].recipe
        data = recipe.data
        if shapes_root(recipe):
            continue
        kind = data.supervision if data.supervision in READ_MASKS else "boxes"
        if data.supervision == "boxes+salient":
            kind = "salient"
        parts = (frozenset({part}) for part in (data.train, data.eval, data.supervision))
        uses = Uses(*parts, predict_only)
        name = f"{data.dataset}-{data.train}-{data.eval}-{kind}{'-one' if data.classes == 'one' else ''}"
        named.setdefault(name, Group(recipe, uses)).runs.append(run)
    return named


def verdict_file(results: Path, scale: str, name: str) -> Path:
    return results / scale / "data" / f"{name}.json"


def judge(
    plan: Plan, runs: Iterable[str], results: Path, roots: Roots, predict_only: bool = False
) -> list[Path]:
    """Judge the roots of these runs where they have no verdict yet; returns the verdicts' files.

    predict_only: nothing is to be evaluated. Raises WsisError with the first problems of a root.
    """
    files = []
    for name, group in groups(plan, runs, predict_only).items():
        scale = plan.scale.name
        path = _root(group, roots, scale)
        file = verdict_file(results, scale, name)
        salient = salient_place(group.recipe, results, scale, roots)
        state = _state(group, path, salient)
        files.append(file)
        if _holds(_kept(file), state):
            continue
        from wsis.data.check.root import check_root  # slow to import, and mostly nothing has changed

        for place in (path, salient) if salient else (path,):
            report = check_root(place, uses=group.uses)
            print(report, flush=True)
            if not report.ok:
                shown = "; ".join(map(str, report.problems[:SHOWN]))
                more = len(report.problems) - SHOWN
                raise WsisError(
                    f"{place} can't be trained on: {shown}" + (f"; and {more} more" if more > 0 else "")
                )
        write_json(file, state)
    return files


def compare(plan: Plan, runs: Iterable[str], results: Path, roots: Roots, predict_only: bool = False) -> None:
    """Compare the user's roots with the results of these runs, before anything is made of them.

    Raises WsisError where a root is missing, or results are of other training data or classes. A verdict on
    files that have changed since is removed; metrics of another ground truth are made older than their
    predictions, so that these are evaluated again, and nothing is trained for it. predict_only: as `judge`.
    """
    scale, given = plan.scale.name, named_roots(roots)
    for name, path in given.items():
        if not path.is_dir():
            raise WsisError(f"data_root: {path}: no such folder; give the root of the {name} images")
    for name, group in groups(plan, runs, predict_only).items():
        if group.recipe.data.dataset not in given:
            continue
        path, verdict = given[group.recipe.data.dataset], verdict_file(results, scale, name)
        salient = given.get("salient") if "boxes+salient" in group.uses.supervisions else None
        state, seen = _state(group, path, salient), verdict.with_suffix(".seen.json")
        folders = [results / scale / "runs" / run for run in group.runs]
        trained = [folder for folder in folders if sound(folder / "train.json", folder.name)]
        if not _holds(_kept(verdict), state):
            verdict.unlink(missing_ok=True)
        before = _kept(seen)
        if trained and not (_holds(before, state) and {"fingerprint", "classes"} <= {*before}):
            now = state | _fingerprints(group, path)
            for folder in trained:
                _same(folder, now, path)
                evaluated = before or _trained_on(folder)
                if evaluated.get("evaluation", now["evaluation"]) != now["evaluation"]:
                    with suppress(FileNotFoundError):
                        os.utime(folder / "metrics.json", (1, 1))
            write_json(seen, now)
        else:
            for folder in trained:
                _same(folder, before, path)


def _holds(kept: dict[str, Any], state: dict[str, Any]) -> bool:
    return {key: value for key, value in kept.items() if key in state} == state


def same_data(folder: Path, root: Any) -> None:
    """Raise WsisError when a run was trained on other annotations or classes than those of `root`.

    What it is evaluated on may have changed since.
    """
    _same(folder, {"fingerprint": root.fingerprint, "classes": root.classes}, root.path)


def _same(folder: Path, now: dict[str, str], path: Path) -> None:
    """Runs without "classes" are older than this distinction: their fingerprint is of both splits."""
    trained = _trained_on(folder)
    if "classes" not in trained:
        return
    for key, words in (("fingerprint", "annotations"), ("classes", "classes")):
        if trained[key] != now[key]:
            raise WsisError(
                f"{folder}: was trained on {trained['root_name']} ({words} {trained[key]}), not on {path}"
                f" ({now[key]}); give the root that these results are of, keep the data sets' results apart,"
                " or delete this folder"
            )


def _trained_on(folder: Path) -> dict[str, Any]:
    return read_record(folder / "train.json").get("data") or {}


def _root(group: Group, roots: Roots, scale: str) -> Path:
    dataset = group.recipe.data.dataset
    given = named_roots(roots)
    if dataset not in given:
        raise WsisError(f"scale {scale} trains on {dataset}: give its root with --data-root {dataset}=PATH")
    if not given[dataset].is_dir():
        raise WsisError(f"{given[dataset]}: no such folder; give the root of the {dataset} images")
    return given[dataset]


def _kept(file: Path) -> dict[str, Any]:
    """The verdict in a file; nothing where there is none, or none that can be read."""
    with suppress(WsisError):
        content = read_json(file)
        return content if isinstance(content, dict) else {}
    return {}


def _state(group: Group, path: Path, salient: Path | None) -> dict[str, Any]:
    """What a verdict is of: comparing it reads no file. salient: the root of salient images, if any."""
    from wsis.data.splits import annotation_files

    data, uses, files = group.recipe.data, group.uses, {}
    for split in (data.train, data.eval):
        for file in annotation_files(path, data.dataset, split):
            if file.exists():
                stat = file.stat()
                files[str(file.resolve())] = [stat.st_size, stat.st_mtime_ns]
    words = [sorted(part) if part else part for part in (uses.train, uses.eval, uses.supervisions)]
    places = [str(place.resolve()) for place in (path, salient) if place]
    return {"roots": places, "uses": [*words, uses.predict_only], "files": files}


def _fingerprints(group: Group, path: Path) -> dict[str, str]:
    from wsis.data.roots import open_root

    root = open_root(group.recipe, path)
    return {
        "fingerprint": root.fingerprint,
        "classes": root.classes,
        "evaluation": root.eval_fingerprint,
    }
