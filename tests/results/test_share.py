"""Archives of results: two halves give the whole, and a stranger's archive does no harm."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from tests.other_writer import other_writer
from tests.report.results_folder import make_plan, make_results
from wsis.errors import WsisError
from wsis.files import read_json, write_bytes, write_json, write_text
from wsis.report.build import build_report
from wsis.report.diff import make_diff
from wsis.results.merge import merge, told
from wsis.results.share import MANIFEST, share

PLAN = make_plan()


@pytest.fixture
def whole(tmp_path) -> Path:
    """A results folder with all that runs leave, of three seeds."""
    return filled(tmp_path / "whole" / "results")


def filled(results: Path) -> Path:
    make_results(PLAN, results)
    for id, run in PLAN.runs.items():
        folder = results / "tiny" / "runs" / id
        if not (folder / "train.json").exists():
            continue
        tree = run.recipe.model_dump(mode="json")
        write_json(folder / "recipe.json", {"id": id, "scale": "tiny", "recipe": tree, "asked": {}})
        weights = hashlib.sha256(id.encode()).hexdigest()[:16]
        began = {"parent": {"id": run.parent, "weights": weights_of(run.parent)}} if run.parent else {}
        write_json(folder / "train.json", read_json(folder / "train.json") | {"weights": weights} | began)
        write_text(folder / "log.jsonl", '{"iteration": 0}\n')
        write_bytes(folder / "model.safetensors", b"weights of " + id.encode())
        write_bytes(folder / "checkpoints" / "last.pt", b"")
        write_json(folder / "predictions.json", [])
        write_json(folder / "pictures" / "pictures.json", [])
    measured = results / "tiny" / "measures" / "colour-affinity" / "coco.json"
    write_json(measured, read_json(measured) | {"set": "colour-affinity", "key": "coco"})
    write_text(results.parent / "reports" / "tiny" / "index.html", "<title>page</title>")
    write_text(results.parent / "reports" / "tiny" / "drawn" / "cache.json", "{}")
    return results


def weights_of(run: str) -> str:
    return hashlib.sha256(run.encode()).hexdigest()[:16]


def packed(results: Path, out: Path, **more: bool) -> Path:
    return share("tiny", results, results.parent / "reports", out, **more).path


def only(results: Path, seeds: set[int]) -> Path:
    """The same results without the runs of other seeds."""
    for id, run in PLAN.runs.items():
        folder = results / "tiny" / "runs" / id
        if run.seed not in seeds and folder.exists():
            folder.rename(results.parent / f"gone-{id}")
    return results


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def changed(archive: Path, out: Path, edit) -> Path:
    """The archive with another list of members; edit: a function of [(TarInfo, bytes)]."""
    with tarfile.open(archive) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]
    with tarfile.open(out, "w:gz") as tar:
        for member, content in edit(members):
            member.size = len(content) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(content))
    return out


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def listed(members, name: str, content: bytes):
    """The members with a file more, which the manifest has."""
    (head, text), *rest = members
    manifest = json.loads(text)
    manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return [(head, json.dumps(manifest).encode()), *rest, (entry(name), content)]


def test_two_machines_halves_give_the_whole(whole, tmp_path):
    seeds = sorted({run.seed for run in PLAN.runs.values()})
    halves = [only(filled(tmp_path / name / "results"), {*part}) for name, part in
              (("one", seeds[:1]), ("other", seeds[1:]))]  # fmt: skip
    archives = [packed(half, tmp_path / f"{half.parent.name}.tar.gz") for half in halves]
    (merged,) = merge(archives, tmp_path / "here")
    assert len(merged.added) == len(list((whole / "tiny/runs").iterdir())) + 1 and not merged.orphans
    assert merged.same == ["measures/colour-affinity/coco.json"]  # in both
    here, there = (build_report(PLAN, folder, {}, {}) for folder in (tmp_path / "here", whole))
    assert make_diff(here) == make_diff(there)
    assert here.provenance == there.provenance and here.runs == there.runs


def test_an_archive_is_the_same_bytes_and_holds_no_weights_unless_asked(whole, tmp_path):
    first = packed(whole, tmp_path / "a.tar.gz").read_bytes()
    for path in whole.rglob("*.json"):
        os.utime(path, (1, 1))
    assert packed(whole, tmp_path / "b.tar.gz").read_bytes() == first
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        names = tar.getnames()
    assert names[0] == MANIFEST and "reports/tiny/index.html" in names
    assert {Path(name).name for name in names if "/runs/" in name} == {
        "recipe.json", "log.jsonl", "environment.json", "train.json", "metrics.json", "pictures.json"
    }  # fmt: skip
    assert not any("drawn" in name for name in names)
    packed(whole, tmp_path / "c.tar.gz", weights=True, predictions=True)
    merge([tmp_path / "c.tar.gz"], tmp_path / "here")
    for run in (whole / "tiny/runs").iterdir():
        copy = tmp_path / "here/tiny/runs" / run.name
        assert (copy / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
        assert (copy / "predictions.json").exists()
    with pytest.raises(WsisError, match="no run is finished"):
        share("mini", whole, tmp_path / "none", tmp_path / "d.tar.gz")


def test_the_same_stays_and_what_differs_is_refused_unless_told(whole, tmp_path):
    archive = packed(whole, tmp_path / "a.tar.gz")
    run = next(path for path in sorted((whole / "tiny/runs").iterdir()) if (path / "metrics.json").exists())
    write_json(
        run / "train.json", read_json(run / "train.json") | {"seconds": 99.0}
    )  # another machine's time
    before = files(whole)
    (merged,) = merge([archive], whole)
    assert not merged.added and files(whole) == before
    changed_run = read_json(run / "metrics.json")
    changed_run["metrics"]["AP"] += 1
    write_json(run / "metrics.json", changed_run)
    with pytest.raises(WsisError, match=rf"runs/{run.name} \(other numbers; .*--differing"):
        merge([archive], whole)
    (merged,) = merge([archive], whole, "keep")
    assert merged.kept == [f"runs/{run.name}"] and read_json(run / "metrics.json") == changed_run
    with other_writer(run), pytest.raises(WsisError, match="being trained here"):
        merge([archive], whole, "take")
    (merged,) = merge([archive], whole, "take")
    assert merged.taken == [f"runs/{run.name}"] and read_json(run / "metrics.json") != changed_run
    assert "1 run replaced" in told(merged)[0]
    (run / "train.json").unlink()
    with pytest.raises(WsisError, match="not finished here"):
        merge([archive], whole)
    assert not list(whole.glob(".merge-*"))


def test_runs_whose_parent_here_has_other_weights_are_told(whole, tmp_path):
    archive = packed(whole, tmp_path / "a.tar.gz")
    parent = next(run.parent for run in PLAN.runs.values() if run.parent)
    record = tmp_path / "here/tiny/runs" / parent / "train.json"
    write_json(record, read_json(whole / "tiny/runs" / parent / "train.json") | {"weights": "another"})
    write_text(record.with_name("recipe.json"), (whole / "tiny/runs" / parent / "recipe.json").read_text())
    (merged,) = merge([archive], tmp_path / "here", "keep")
    children = {id for id, run in PLAN.runs.items() if run.parent == parent}
    there = {path.name for path in (whole / "tiny/runs").iterdir()}
    assert {*merged.orphans} == children & there and "stale" in told(merged)[1]


EVIL = ("../evil.json", "/tmp/evil.json", "results/tiny/runs/../../evil.json", "results/mini/metrics.csv",
        "results/tiny/runs/boxinst-0123456789/model.pt", "reports/tiny/../../evil.html",
        "results/tiny/measures/../x/y.json")  # fmt: skip


@pytest.mark.parametrize("name", EVIL)
def test_a_file_that_no_results_have_is_refused(whole, tmp_path, name):
    evil = changed(packed(whole, tmp_path / "a.tar.gz"), tmp_path / "evil.tar.gz",
                   lambda members: listed(members, name, b"{}"))  # fmt: skip
    with pytest.raises(WsisError, match="is no file of the results of scale tiny"):
        merge([evil], tmp_path / "here")
    assert not files(tmp_path / "here") and not list(tmp_path.rglob("evil.[jh]*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(whole, tmp_path, kind):
    link = entry("results/tiny/runs/x", kind, "/etc/passwd"), b""
    archive, evil = packed(whole, tmp_path / "a.tar.gz"), tmp_path / "evil.tar.gz"
    changed(archive, evil, lambda members: [*members, link])
    with pytest.raises(WsisError, match="is a link or no plain file"):
        merge([evil], tmp_path / "here")


def test_a_cut_archive_and_a_changed_file_are_refused(whole, tmp_path):
    archive = packed(whole, tmp_path / "a.tar.gz")
    content = archive.read_bytes()
    for length in (0, 5, 200, len(content) // 2, len(content) - 300):
        (tmp_path / "cut.tar.gz").write_bytes(content[:length])
        with pytest.raises(WsisError, match=r"cut\.tar\.gz: "):
            merge([tmp_path / "cut.tar.gz"], tmp_path / "here")
    whole_tar = gzip.decompress(content)
    (tmp_path / "noise.tar.gz").write_bytes(gzip.compress(whole_tar[: len(whole_tar) // 1024 * 512]))
    lines = {
        "noise.tar.gz": "",
        "less.tar.gz": "is missing",
        "other.tar.gz": "is not as its manifest says",
        "twice.tar.gz": "is not in its manifest, or is there twice",
        "text.tar.gz": "can't be read",
    }
    changed(archive, tmp_path / "less.tar.gz", lambda members: members[:-1])
    changed(archive, tmp_path / "other.tar.gz", lambda ms: [*ms[:-1], (ms[-1][0], ms[-1][1] + b" ")])
    changed(archive, tmp_path / "twice.tar.gz", lambda members: [*members, members[-1]])
    write_text(tmp_path / "text.tar.gz", "no archive")
    for name, words in lines.items():
        with pytest.raises(WsisError, match=rf"{name}: .*{words}"):
            merge([tmp_path / name], tmp_path / "here")
    assert not files(tmp_path / "here")


def test_another_version_and_another_run_are_refused_in_a_line(whole, tmp_path):
    archive = packed(whole, tmp_path / "a.tar.gz")

    def of_format(members):
        (head, text), *rest = members
        return [(head, json.dumps(json.loads(text) | {"format": 2}).encode()), *rest]

    changed(archive, tmp_path / "new.tar.gz", of_format)
    with pytest.raises(WsisError, match=r"of format 2, by wsis .*; this version reads format 1"):
        merge([tmp_path / "new.tar.gz"], tmp_path / "here")
    run = min(path for path in (whole / "tiny/runs").iterdir() if (path / "metrics.json").exists())
    stored = read_json(run / "recipe.json")
    write_json(run / "recipe.json", stored | {"recipe": stored["recipe"] | {"colour": 3}})
    with pytest.raises(WsisError, match=rf"b\.tar\.gz: results/tiny/runs/{run.name}/recipe\.json: .*colour"):
        merge([packed(whole, tmp_path / "b.tar.gz")], tmp_path / "here")
    write_json(run / "recipe.json", stored | {"recipe": stored["recipe"] | {"seed": 99}})
    with pytest.raises(WsisError, match="the recipe of another run"):
        merge([packed(whole, tmp_path / "b.tar.gz")], tmp_path / "here")
    write_json(run / "recipe.json", stored)
    write_text(run / "metrics.json", '{"protocol": "coco"}')
    with pytest.raises(WsisError, match="'metrics' is missing"):
        merge([packed(whole, tmp_path / "b.tar.gz")], tmp_path / "here")
    with pytest.raises(WsisError, match=r"none\.tar\.gz: no such file"):
        merge([tmp_path / "none.tar.gz"], tmp_path / "here")
