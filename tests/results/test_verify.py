"""`wsis verify` finds what is damaged, half written, foreign or stale, and says what mends it."""

import json
import os
import subprocess
import sys

import pytest

from tests.flow.test_work import finish
from wsis.checksums import seal, seal_folder
from wsis.data.places import shapes_root
from wsis.errors import WsisError
from wsis.files import checksum_file, digest, read_json, write_json
from wsis.plan import make_plan
from wsis.records import write_record
from wsis.report import results as report_results
from wsis.results.verify import lines, verify_results

OTHER = "sim-0123456789"


@pytest.fixture(scope="module")
def plan():
    return make_plan("smoke", (0,))


@pytest.fixture
def there(plan, tmp_path, monkeypatch):
    """Two finished runs of one row; returns its folder and id."""
    runs = plan.with_needed([plan.row_runs("boxinst/3", "projection")[0]])
    finish(tmp_path, plan, runs)
    for run in runs:
        recipe = plan.runs[run].recipe.settled().model_dump(mode="json")
        about = {"id": run, "scale": "smoke", "recipe": recipe, "asked": {"set": {}}}
        write_record(tmp_path / "smoke" / "runs" / run / "recipe.json", about)
    return tmp_path / "smoke" / "runs" / runs[-1]


def found(folder):
    """(kind, path below the run's folder, command) of all that is wrong."""
    results = folder.parents[2]
    return [
        (each.kind, str(each.path).removeprefix(f"{folder}/"), each.command)
        for each in verify_results(results)
    ]


def test_whole_results_are_whole(there):
    assert found(there) == [] and lines([]) == ["all is whole"]
    with pytest.raises(WsisError, match="no such folder"):
        verify_results(there, "tiny")


@pytest.mark.parametrize(
    "name", ["model.safetensors", "predictions.json", "proxies/0-of-1.jsonl.gz", "train.json", "metrics.json"]
)
def test_damaged_files_are_found_with_what_mends_them(there, name):
    path = there / name
    content = path.read_bytes()
    path.write_bytes(content.replace(b"e", b"f") if b"e" in content else b"[1]\n")
    ((kind, where, command),) = found(there)
    word = "evaluate" if name == "metrics.json" else "train"
    assert (kind, where) == ("damaged", name)
    assert (
        command == f"rm {path} {checksum_file(path)} && wsis {word} --results {there.parents[2]} {there.name}"
    )


@pytest.mark.parametrize("content", ["", "[]", '{"metrics": {"AP": 140}, "protocol": "coco"}'])
def test_small_files_without_a_checksum_are_looked_at_too(there, content):
    write_json(there / "metrics.json", {})
    (there / "metrics.json").write_text(content)
    assert [each[:2] for each in found(there)] == [("damaged", "metrics.json")]


def test_files_and_folders_of_others_are_foreign(there):
    write_record(there / "train.json", {"recipe": OTHER})
    (there.with_name("notes")).mkdir()
    kinds = {(kind, where) for kind, where, _ in found(there)}
    assert kinds == {("foreign", "train.json"), ("foreign", str(there.with_name("notes")))}


def test_what_is_not_finished_is_half_written(there):
    (there / "train.json").unlink()
    (there / ".model.safetensors.7.tmp").touch()
    (there / "proxies" / "0-of-2.jsonl.gz.part").touch()
    assert {(kind, where) for kind, where, _ in found(there)} == {
        ("half written", ".model.safetensors.7.tmp"),
        ("half written", "proxies/0-of-2.jsonl.gz.part"),
        ("half written", str(there)),
    }


def test_other_settings_code_and_predictions_are_stale(there, monkeypatch):
    content = read_json(there / "metrics.json")
    write_record(there / "metrics.json", content | {"predictions": "of before"})
    assert [each[:2] for each in found(there)] == [("stale", "metrics.json")]
    write_record(there / "metrics.json", content)
    monkeypatch.setattr(report_results, "code_hash", lambda method: "now")
    write_record(there / "train.json", {"recipe": there.name, "code": "before"})
    assert [each[:2] for each in found(there)] == [("stale", str(there))]
    about = read_json(there / "recipe.json")
    about["recipe"]["predict"]["nms"] = 0.55
    write_record(there / "recipe.json", about)
    assert [each[:2] for each in found(there)] == [("stale", str(there))]


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"id": OTHER, "scale": "smoke", "recipe": {}})])
def test_a_damaged_recipe_is_found_and_its_run_is_due(there, content):
    (there / "recipe.json").write_text(content)
    ((_, where, command),) = found(there)
    options = f"--scale smoke --results {there.parents[2]}"
    assert where == "recipe.json" and command == f"wsis train {options} {there.name}"


def test_measurements_and_notes_are_looked_at(there):
    base = there.parents[1]
    path = base / "measures" / "pseudo" / "a.json"
    write_record(path, {"values": {"a": {"IoU": 1.0}}})
    assert found(there) == []
    path.write_text('{"values": []}')
    (base / "jobs.json").write_text("{")
    assert sorted(where for _, where, _ in found(there)) == sorted([str(path), str(base / "jobs.json")])


def test_files_of_another_run_with_their_checksums_are_foreign(there):
    told = {f: digest(there / f) for f in ("model.safetensors", "predictions.json")}
    content = {"weights": told["model.safetensors"], "predictions": told["predictions.json"]}
    write_record(there / "train.json", read_json(there / "train.json") | content)
    os.utime(there / "metrics.json")
    assert found(there) == []
    (there / "model.safetensors").write_bytes(b"another run's")
    seal(there / "model.safetensors")
    train = f"wsis train --results {there.parents[2]} {there.name}"
    assert found(there) == [("foreign", str(there), train)]


def test_numbers_of_the_report_are_looked_at(there):
    path = there.parents[1] / "metrics.csv"
    path.write_text("paper,table\nboxinst,3\n")
    assert found(there) == []
    seal(path)
    assert found(there) == []
    path.write_text("paper,table\nboxinst,4\n")
    remove = f"rm {path} {checksum_file(path)}"
    assert found(there) == [("damaged", str(path), remove)]


def test_a_damaged_root_and_damaged_pictures_are_found(plan, there):
    base, results = there.parents[1], there.parents[2]
    root = base / "data" / shapes_root(plan.runs[there.name].recipe)
    for path in (root / "val" / "1.png", there / "pictures" / "maps.jpg"):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"as written")
    seal_folder(root)
    seal(there / "pictures" / "maps.jpg")
    assert found(there) == []
    for path in (root / "val" / "1.png", there / "pictures" / "maps.jpg"):
        path.write_bytes(b"as WRITTEN")
    made = f"wsis data make --scale smoke --results {results} --seed 0 --root {root.name}"
    drawn = f"wsis pictures --results {results} {there.name}"
    assert found(there) == [
        ("damaged", str(root / "val" / "1.png"), f"rm -r {root} && {made}"),
        ("damaged", "pictures/maps.jpg", f"rm -r {there / 'pictures'} && {drawn}"),
    ]


def test_the_command_exits_with_1_where_something_is_damaged(there):
    call = [sys.executable, "-m", "wsis", "verify", "--results", str(there.parents[2])]
    done = subprocess.run(call, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "all is whole\n")
    (there / "model.safetensors").write_text("x")
    seal(there / "predictions.json")
    done = subprocess.run([*call, "--json"], capture_output=True, text=True)
    assert done.returncode == 1 and json.loads(done.stdout)[0]["kind"] == "damaged"
