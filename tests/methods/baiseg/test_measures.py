"""Boundary maps measured on drawn images, with maps of known measures and with a real network; costs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pycocotools import mask as masks

from tests.methods.measuring import draw
from wsis.checksums import seal_folder
from wsis.errors import WsisError
from wsis.evaluation.rle import truth_rle
from wsis.files import read_json, write_json
from wsis.flow.jobs import measure
from wsis.measures.registry import sets
from wsis.measures.wanted import wanted
from wsis.methods.baiseg import boundary_quality
from wsis.plan import make_plan

TABLE = "baiseg/3"
ROWS = ("CFM + DMA + PPC + refinement", "colour gradient", "semantic components alone")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A drawn root, and the rows' runs as if they were trained: random weights, the true masks predicted."""
    plan = make_plan("smoke")
    ids = {label: next(iter(plan.row_runs(TABLE, label).values())) for label in ROWS}
    smoke = draw(ids[ROWS[0]], tmp_path_factory.mktemp("results"))
    truth = read_json(smoke.root.path / "annotations" / "instances_val.json")
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    objects: dict[int, list] = {id: [] for id in sizes}
    for entry in truth["annotations"]:
        rle = truth_rle(entry["segmentation"], sizes[entry["image_id"]])
        objects[entry["image_id"]].append((masks.decode(rle) > 0, entry["category_id"]))
    found = SimpleNamespace(smoke=smoke, plan=plan, ids=ids, root=smoke.root, objects=objects)
    for id in ids.values():
        smoke.finish(id, predictions(found, together=False), weights=True)
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


def measured(drawn, label: str = ROWS[0]) -> dict:
    return drawn.smoke.measure("boundary", drawn.ids[label])


def measures_of(drawn, label: str = ROWS[0]) -> dict:
    return measured(drawn, label)["values"][drawn.ids[label]]


def test_perfect_outlines_and_one_mask_an_object(drawn, monkeypatch, capsys):
    monkeypatch.setattr(boundary_quality, "build_method", lambda recipe, classes: Perfect(drawn.objects))
    content = measured(drawn)
    details, id = content["details"], drawn.ids[ROWS[0]]
    assert content["values"][id] == {
        "response_contour": 100.0, "response_contact": 100.0, "response_texture": 0.0,
        "response_interior": 0.0, "contact_AUC": 100.0, "contact_texture_AUC": 100.0, "split": 100.0,
    }  # fmt: skip
    assert details["images"] == len(drawn.root.eval)
    assert details["objects"] == sum(map(len, drawn.objects.values()))
    assert details["pairs"] > 0 and min(details["pixels"].values()) > 0
    assert f"{id}.json" in capsys.readouterr().out


def test_one_mask_a_class_splits_nothing(drawn, monkeypatch):
    flat = Perfect(drawn.objects)
    flat.known = flat.elsewhere = 0.25
    monkeypatch.setattr(boundary_quality, "build_method", lambda recipe, classes: flat)
    file = drawn.smoke.folder(drawn.ids[ROWS[0]]) / "predictions.json"
    before = read_json(file)
    write_json(file, predictions(drawn, together=True))
    measures = measures_of(drawn)
    write_json(file, before)
    assert measures["split"] == 0 and measures["contact_AUC"] == measures["contact_texture_AUC"] == 50
    assert {value for name, value in measures.items() if name.startswith("response")} == {25.0}


def test_a_network_and_the_controls(drawn):
    network, gradient, none = (measures_of(drawn, label) for label in ROWS)
    assert all(0 <= value <= 100 for values in (network, gradient) for value in values.values())
    # Of drawn objects the colours change more at their outlines than inside.
    assert gradient["response_contour"] > gradient["response_interior"] and gradient["contact_AUC"] > 60
    assert {name for name, value in none.items() if value is not None} == {"split"}
    assert network == measures_of(drawn)  # again


def test_a_root_without_texture_maps_has_no_such_group(drawn, monkeypatch):
    monkeypatch.setattr(boundary_quality, "build_method", lambda recipe, classes: Perfect(drawn.objects))
    folder = drawn.root.path / "texture"
    hidden = folder.rename(folder.with_name("hidden"))
    seal_folder(drawn.root.path)  # as one that was drawn without
    try:
        content = measured(drawn)
    finally:
        hidden.rename(folder)
        seal_folder(drawn.root.path)
    undefined = {name for name, value in content["values"][drawn.ids[ROWS[0]]].items() if value is None}
    assert (
        undefined == {"response_texture", "contact_texture_AUC"}
        and content["details"]["pixels"]["texture"] == 0
    )
    lost = folder / "val" / f"{drawn.root.eval[0].path.stem}.png"
    kept = lost.read_bytes()
    lost.unlink()
    try:
        with pytest.raises(WsisError, match=lost.name):
            measured(drawn)
    finally:
        lost.write_bytes(kept)


def test_every_run_of_a_table_is_wanted(drawn):
    table = drawn.plan.tables[TABLE]
    keys = wanted(drawn.plan, [TABLE])["boundary"]
    runs = dict.fromkeys(run for row in table.rows for run in drawn.plan.row_runs(TABLE, row.label).values())
    assert list(keys) == [run for run in runs if drawn.plan.runs[run].recipe.method == "baiseg"]
    assert "boundary" not in wanted(drawn.plan, ["baiseg/7"])


def test_what_cannot_be_measured_is_refused(drawn, monkeypatch):
    wrong = Perfect(drawn.objects)
    wrong.known = 1.5
    monkeypatch.setattr(boundary_quality, "build_method", lambda recipe, classes: wrong)
    with pytest.raises(WsisError, match=r"image \d+ of .*outside \[0, 1\]"):
        measured(drawn)
    monkeypatch.setattr(boundary_quality, "semantic_samples", lambda recipe, root: iter(()))
    with pytest.raises(WsisError, match="boundary maps of 0 images"):
        measured(drawn)


def test_costs_of_every_row_that_prints_them(tmp_path):
    plan = make_plan("smoke")
    paths = measure(plan, ["complexity", "baiseg/4"], tmp_path, None)
    keys = wanted(plan, ["baiseg/4"])["complexity"]
    assert [path.stem for path in paths] == list(keys)
    for path, cases in zip(paths, keys.values(), strict=True):
        content = read_json(path)
        assert content["weights"] is content["data"] is None
        assert {*content["values"]} >= {*cases}
        for case, asked in cases.items():
            assert {*content["values"][case]} == sets()["complexity"].names
            printed = asked.table.published(asked.row)["params"]
            assert content["values"][case]["params"] == pytest.approx(printed, rel=0.015)
