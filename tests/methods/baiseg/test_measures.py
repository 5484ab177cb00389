"""`wsis boundary-quality` on drawn images: with maps whose measures are known, and with a real network."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pycocotools import mask as masks

from wsis.data.places import run_root
from wsis.data.roots import open_root
from wsis.declare.table import BOUNDARY_MEASURES
from wsis.engine.checkpoint import save_model
from wsis.errors import WsisError
from wsis.evaluation.rle import truth_rle
from wsis.files import read_json, write_json
from wsis.jobs import make_data
from wsis.methods import build_method
from wsis.methods.baiseg import boundary_quality
from wsis.methods.baiseg.measures import boundary_runs, measure_boundaries
from wsis.plan import make_plan
from wsis.provenance import boundary_hash

TABLE = "baiseg/3"
ROWS = ("CFM + DMA + PPC + refinement", "colour gradient", "semantic components alone")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A drawn root, and the rows' runs as if they were trained: random weights, the true masks predicted."""
    results = tmp_path_factory.mktemp("results")
    plan = make_plan("smoke")
    ids = {label: next(iter(plan.row_runs(TABLE, label).values())) for label in ROWS}
    recipe = plan.runs[ids[ROWS[0]]].recipe
    make_data(plan, results, next(job.data for job in plan.jobs if ids[ROWS[0]] in job.runs))
    root = open_root(recipe, run_root(recipe, results, "smoke", None))
    truth = read_json(root.path / "annotations" / "instances_val.json")
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    objects: dict[int, list] = {id: [] for id in sizes}
    for entry in truth["annotations"]:
        rle = truth_rle(entry["segmentation"], sizes[entry["image_id"]])
        objects[entry["image_id"]].append((masks.decode(rle) > 0, entry["category_id"]))
    found = SimpleNamespace(plan=plan, ids=ids, root=root, results=results, objects=objects)
    data = {"root_name": root.name, "fingerprint": root.fingerprint}
    for id in ids.values():
        folder = results / "smoke" / "runs" / id
        folder.mkdir(parents=True)
        save_model(folder / "model.pt", id, 2, build_method(plan.runs[id].recipe.settled(), root.num_classes))
        write_json(folder / "train.json", {"weights": "0123", "data": data})
        write_json(folder / "predictions.json", predictions(found, together=False))
    return found


def predictions(drawn, together: bool) -> list[dict]:
    """Every object by itself, or all objects of a class in an image as one."""
    entries = []
    for id, objects in drawn.objects.items():
        labels = {label for _, label in objects}
        joined = [(np.any([m for m, other in objects if other == label], 0), label) for label in labels]
        for mask, label in joined if together else objects:
            rle = masks.encode(np.asfortranarray(mask, dtype=np.uint8))
            entries.append({
                "image_id": id, "category_id": label, "score": 0.5,
                "segmentation": {"size": list(rle["size"]), "counts": rle["counts"].decode()},
            })  # fmt: skip
    return entries


def outline(objects: list, size: tuple[int, int]) -> np.ndarray:
    """1 where a pixel's neighbour to a side, above or below belongs to another object or to none."""
    owner = np.zeros(size, int)
    for number, (mask, _) in enumerate(objects, 1):
        owner[mask] = number
    padded = np.pad(owner, 1, mode="edge")
    around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.any([other != owner for other in around], 0).astype(np.float32)


class Perfect(torch.nn.Module):
    """Knows every object's outline; `known` is the response there, `elsewhere` that of all other pixels."""

    known, elsewhere = 1.0, 0.0

    def __init__(self, objects: dict[int, list]):
        super().__init__()
        self.objects = objects

    def load_state_dict(self, state) -> None:
        assert state  # of model.pt

    def maps(self, samples):
        assert not self.training and not torch.is_grad_enabled()
        edges = [outline(self.objects[sample.id], sample.size) for sample in samples]
        return [SimpleNamespace(boundary=np.where(e > 0, self.known, self.elsewhere)) for e in edges]


def measure(drawn, label: str = ROWS[0]) -> dict:
    (path,) = measure_boundaries(drawn.plan, [drawn.ids[label]], drawn.results, None, "cpu")
    assert path == drawn.results / "smoke" / "boundary" / f"{drawn.ids[label]}.json"
    return read_json(path)


def test_perfect_outlines_and_one_mask_an_object(drawn, monkeypatch, capsys):
    monkeypatch.setattr(boundary_quality, "build_method", lambda recipe, classes: Perfect(drawn.objects))
    content = measure(drawn)
    assert content["measures"] == {
        "response_contour": 100.0, "response_contact": 100.0, "response_texture": 0.0,
        "response_interior": 0.0, "contact_AUC": 100.0, "contact_texture_AUC": 100.0, "split": 100.0,
    }  # fmt: skip
    assert tuple(content["measures"]) == BOUNDARY_MEASURES
    assert content["images"] == len(drawn.root.eval)
    assert content["objects"] == sum(map(len, drawn.objects.values()))
    assert content["pairs"] > 0 and min(content["pixels"].values()) > 0
    id = drawn.ids[ROWS[0]]
    assert (content["recipe"], content["code"], content["weights"]) == (id, boundary_hash(), "0123")
    assert content["data"] == {"root_name": drawn.root.name, "fingerprint": drawn.root.fingerprint}
    assert f"{id}.json" in capsys.readouterr().out


def test_one_mask_a_class_splits_nothing(drawn, monkeypatch):
    flat = Perfect(drawn.objects)
    flat.known = flat.elsewhere = 0.25
    monkeypatch.setattr(boundary_quality, "build_method", lambda recipe, classes: flat)
    file = drawn.results / "smoke" / "runs" / drawn.ids[ROWS[0]] / "predictions.json"
    before = read_json(file)
    write_json(file, predictions(drawn, together=True))
    measures = measure(drawn)["measures"]
    write_json(file, before)
    assert measures["split"] == 0 and measures["contact_AUC"] == measures["contact_texture_AUC"] == 50
    assert {value for name, value in measures.items() if name.startswith("response")} == {25.0}


def test_a_network_and_the_controls(drawn):
    network, gradient, none = (measure(drawn, label)["measures"] for label in ROWS)
    assert all(0 <= value <= 100 for values in (network, gradient) for value in values.values())
    # Of drawn objects the colours change more at their outlines than inside.
    assert gradient["response_contour"] > gradient["response_interior"] and gradient["contact_AUC"] > 60
    assert {name for name, value in none.items() if value is not None} == {"split"}
    assert network == measure(drawn)["measures"]  # again


def test_a_root_without_texture_maps_has_no_such_group(drawn, monkeypatch):
    monkeypatch.setattr(boundary_quality, "build_method", lambda recipe, classes: Perfect(drawn.objects))
    folder = drawn.root.path / "texture"
    hidden = folder.rename(folder.with_name("hidden"))
    try:
        content = measure(drawn)
    finally:
        hidden.rename(folder)
    undefined = {name for name, value in content["measures"].items() if value is None}
    assert undefined == {"response_texture", "contact_texture_AUC"} and content["pixels"]["texture"] == 0
    lost = folder / "val" / f"{drawn.root.eval[0].path.stem}.png"
    kept = lost.read_bytes()
    lost.unlink()
    try:
        with pytest.raises(WsisError, match=lost.name):
            measure(drawn)
    finally:
        lost.write_bytes(kept)


def test_which_runs_a_table_wants(drawn):
    plan = drawn.plan
    table = plan.tables[TABLE]
    plain = table.model_copy(update={"measures": ()})
    other = plan.tables["boxcaseg/7"]
    measured = table.model_copy(update={"measures": ("split",)})
    changed = SimpleNamespace(
        tables={TABLE: measured, "baiseg/4": plain, other.key: other}, runs=plan.runs, row_runs=plan.row_runs
    )
    wanted = boundary_runs(changed, changed.tables)
    rows = [row.label for row in table.rows if row.kind == "train"]
    assert wanted == list(dict.fromkeys(run for row in rows for run in plan.row_runs(TABLE, row).values()))
    assert set(drawn.ids.values()) <= set(wanted)
    assert boundary_runs(changed, ["baiseg/4", other.key]) == []
    retrained = {id: SimpleNamespace(recipe=SimpleNamespace(method="mask_rcnn")) for id in wanted}
    assert boundary_runs(SimpleNamespace(**vars(changed) | {"runs": retrained}), [TABLE]) == []


def test_what_cannot_be_measured_is_refused(drawn, monkeypatch, tmp_path):
    plan, id = drawn.plan, drawn.ids[ROWS[0]]
    other = next(run.id for run in plan.runs.values() if run.recipe.method == "boxinst")
    with pytest.raises(WsisError, match=f"{other}: no run of BAISeg at smoke .*{id}"):
        measure_boundaries(plan, [id, other], tmp_path, None, "cpu")
    with pytest.raises(WsisError, match=rf"train\.json: no such file; train {id} first"):
        measure_boundaries(plan, [id], tmp_path, None, "cpu")
    wrong = Perfect(drawn.objects)
    wrong.known = 1.5
    monkeypatch.setattr(boundary_quality, "build_method", lambda recipe, classes: wrong)
    with pytest.raises(WsisError, match=r"image \d+ of .*outside \[0, 1\]"):
        measure(drawn)
    monkeypatch.setattr(boundary_quality, "semantic_samples", lambda recipe, root: iter(()))
    with pytest.raises(WsisError, match="boundary maps of 0 images"):
        measure(drawn)
    file = drawn.results / "smoke" / "runs" / id / "train.json"
    before = read_json(file)
    write_json(file, {"data": {"root_name": "other", "fingerprint": "0"}})
    try:
        with pytest.raises(WsisError, match="was trained on other"):
            measure(drawn)
    finally:
        write_json(file, before)
