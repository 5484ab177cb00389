"""Sheets of pictures: what is drawn where, with made-up arrays; and all of them from an untrained SIM."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.methods.scenes import recipe
from wsis.data.places import run_root
from wsis.data.roots import Instance, Picture, open_root
from wsis.data.shapes.write import write_shapes
from wsis.declare.recipe import ShapesSpec
from wsis.engine.checkpoint import save_model
from wsis.errors import WsisError
from wsis.files import write_json
from wsis.jobs import make_data
from wsis.methods import build_method
from wsis.methods.sim import sheets
from wsis.methods.sim.pictures import draw_pictures, paste_rows, scene_of
from wsis.methods.sim.sheets import MapRow, PasteRow, WeightTile
from wsis.pictures import canvas
from wsis.pictures.choice import choose
from wsis.pictures.job import picture_runs, pictures_with_masks
from wsis.plan import make_plan, shapes_root


def map_row(size: int = 96, seed: int = 0) -> MapRow:
    """A square object whose left half is labelled foreground and whose right half is ambiguous."""
    rng = np.random.default_rng(seed)
    image = np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((size // 8, size // 8, 1))).astype(np.uint8)
    box = np.array([size / 4, size / 4, size / 2, size / 2], np.float32)
    low, middle, high = size // 4, size * 3 // 8, size // 2
    pseudo = np.zeros((size, size), np.int8)
    pseudo[low:high, low:middle], pseudo[low:high, middle:high] = 1, -1
    soft = np.linspace(0, 1, size * size, dtype=np.float32).reshape(size, size)
    return MapRow("image 1", "square", image, box, box[None] + 20, soft, soft, soft, pseudo, pseudo != 0)


def count(picture: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(picture) == colour).all(-1).sum())


@pytest.mark.parametrize("size", [64, 96, 640])
def test_a_sheet_is_neither_too_wide_nor_too_heavy(tmp_path, size):
    rows = [map_row(size, seed) for seed in range(12)]
    points = np.array([[30.0, 30.0], [40.0, 35.0]])
    tile = WeightTile(
        "image 1", rows[0].image, rows[0].box[None], points, np.zeros(2, int), np.array([0.3, 0.7])
    )
    boxes = rows[0].others
    pasted = PasteRow(
        rows[0].image, boxes, np.ones(1, bool), rows[1].image, boxes, rows[2].image, boxes, boxes[:, 0] > 0
    )
    for sheet in (
        sheets.maps_sheet(rows),
        sheets.weights_sheet([tile] * 6),
        sheets.paste_sheet([pasted] * 4),
    ):
        assert sheet.width <= canvas.WIDTH
        assert sheet.getpixel((0, 0)) == canvas.GROUND  # its own light ground, also on a dark page
        canvas.save_sheet(sheet, tmp_path / "sheet.jpg")
        assert (tmp_path / "sheet.jpg").stat().st_size <= canvas.BYTES
        assert Image.open(tmp_path / "sheet.jpg").size == sheet.size


def test_the_three_labels_keep_their_shares():
    sheet = sheets.maps_sheet([map_row()]).crop((0, 52, canvas.WIDTH, 218))  # the row, without its legend
    foreground, ambiguous = count(sheet, canvas.FOREGROUND), count(sheet, canvas.AMBIGUOUS)
    # Half of the pseudo mask and all of the ground truth are foreground; outlines take a little of each.
    assert foreground / ambiguous == pytest.approx(3, rel=0.15)


def test_pixels_that_are_enlarged_stay_equal_squares():
    board = np.indices((8, 8)).sum(0) % 2
    pixels = np.repeat((board * 255).astype(np.uint8)[..., None], 3, -1)
    tile, place = canvas.fitted(pixels, 40)
    expected = np.kron(pixels[..., 0], np.ones((5, 5), np.uint8))
    assert np.array_equal(np.asarray(tile)[..., 0], expected)
    assert place(np.array([1, 2, 3, 8])) == (5, 10, 15, 40)


def test_a_wide_picture_is_centred_and_boxes_go_with_it():
    tile, place = canvas.fitted(np.zeros((100, 200, 3), np.uint8), 50)
    assert tile.size == (50, 50)
    assert place(np.array([0, 0, 200, 100])) == (0, 12, 50, 37)
    assert np.asarray(tile)[12:37].max() == 0 and np.asarray(tile)[:12].min() > 200


@pytest.mark.parametrize("box", [(0, 0, 10, 10), (600, 300, 640, 420), (5, 5, 630, 470), (300, 10, 340, 480)])
def test_the_window_holds_the_box_and_stays_in_the_picture(box):
    x0, y0, x1, y1 = canvas.window_around((480, 640, 3), np.array(box, float))
    assert x0 <= box[0] and y0 <= box[1] and x1 >= box[2] and y1 >= box[3]
    assert 0 <= x0 < x1 <= 640 and 0 <= y0 < y1 <= 480
    assert canvas.window_around((96, 96, 3), np.array(box, float)) == (0, 0, 96, 96)


def test_weights_are_relative_to_the_largest_of_the_same_object():
    tile = WeightTile(
        "image 1",
        np.zeros((96, 96, 3), np.uint8),
        np.zeros((3, 4)),
        np.zeros((5, 2)),
        np.array([0, 0, 2, 2, 2]),
        np.array([0.25, 0.75, 0.5, 0.3, 0.2]),
    )
    assert np.allclose(sheets._relative(tile), [1 / 3, 1, 1, 0.6, 0.4])


def test_pasted_and_original_boxes_have_their_colours():
    image = np.zeros((100, 100, 3), np.uint8)
    box, other = np.array([[10.0, 10, 40, 40]]), np.array([[50.0, 50, 90, 90]])
    row = PasteRow(
        image,
        box,
        np.array([True]),
        image,
        other,
        image,
        np.concatenate([other, box]),
        np.array([False, True]),
    )
    sheet = sheets.paste_sheet([row]).crop((0, 34, 960, 334))
    columns = [sheet.crop((14 + i * 306, 0, 314 + i * 306, 300)) for i in range(3)]
    assert [count(c, canvas.PASTED) > 0 for c in columns] == [True, False, True]
    assert [count(c, canvas.ORIGINAL) > 0 for c in columns] == [False, True, True]


def picture(id: int, *instances: tuple[int, tuple[float, ...]]) -> Picture:
    objects = [Instance(i, label, box, False, None) for i, (label, box) in enumerate(instances)]
    return Picture(id, Path("none.png"), 100, 100, objects)


def test_overlapping_objects_of_one_class_come_first():
    near = ((0, (10, 10, 50, 50)), (0, (30, 30, 70, 70)))
    other_class = ((0, (10, 10, 50, 50)), (1, (30, 30, 70, 70)))
    alone = ((0, (10, 10, 50, 50)),)
    pictures = [
        picture(1, *alone),
        picture(2, *other_class),
        picture(3, (2, (0, 0, 99, 99)), *near),
        picture(4, *near, (0, (80, 80, 83, 83))),  # one too small to see
        picture(5, (0, (80, 80, 83, 83))),
    ]
    chosen = choose(pictures)
    assert [p.id for p, _ in chosen] == [3, 4, 2, 1]
    assert [shown for _, shown in chosen] == [[1, 2], [0, 1], [0, 1], [0]]
    assert len(chosen[1][0].instances) == 2 and len(pictures[3].instances) == 3
    assert [p.id for p, _ in choose(pictures, 1)] == [3]
    crowd = replace(pictures[0].instances[0], crowd=True)
    assert choose([replace(pictures[0], instances=[crowd])]) == []


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    spec = ShapesSpec(size=64, train_images=24, val_images=8)
    return write_shapes(spec, 3, tmp_path_factory.mktemp("root") / "shapes")


def sim(**knobs):
    """An untrained SIM whose every cell in a box is foreground, and its recipe."""
    own = recipe(
        method="sim",
        sim={"tau_low": 0.01, "tau_high": 0.02, **knobs},
        data={"train": "train", "eval": "val", "short_side": [64], "eval_short_side": 64, "max_side": 64},
        schedule={"batch": 4},
    )
    torch.manual_seed(0)
    return build_method(own, 3), own


def test_all_sheets_of_a_run(shapes, tmp_path):
    method, own = sim()
    root = open_root(own, shapes)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    made = draw_pictures(method, own, root, pictures_with_masks(own, root), tmp_path / "pictures", "A test.")
    assert [entry["file"] for entry in made] == ["maps.jpg", "weights.jpg", "pasted.jpg"]
    json.dumps(made)
    for entry in made:
        assert set(entry) == {"file", "title", "caption", "alt", "width", "height"}
        assert entry["caption"].endswith("A test.")
        assert Image.open(tmp_path / "pictures" / entry["file"]).size == (entry["width"], entry["height"])
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert len(method.bank) == 0


def test_the_method_sees_no_masks_and_the_sheet_sees_those_of_its_objects(shapes):
    _, own = sim()
    root = open_root(own, shapes)
    picture, shown = choose(pictures_with_masks(own, root))[0]
    scene = scene_of(picture, own, shown)
    assert scene.batch.targets[0].masks is None
    boxes = scene.batch.targets[0].boxes.round().long().tolist()
    assert len(scene.truth) == len(boxes)
    for mask, (x0, y0, x1, y1) in zip(scene.truth, boxes, strict=True):
        assert mask.any() and mask[y0:y1, x0:x1].sum() == mask.sum()


def test_composites_differ_from_their_targets_inside_pasted_boxes_only(shapes):
    method, own = sim()
    rows = paste_rows(method.eval(), own, open_root(own, shapes))
    assert rows
    for row in rows:
        changed = (row.result != row.target).any(-1)
        inside = np.zeros_like(changed)
        for x0, y0, x1, y1 in row.result_boxes[row.pasted].round().astype(int):
            inside[max(y0 - 2, 0) : y1 + 2, max(x0 - 2, 0) : x1 + 2] = True  # cells reach over the box's edge
        assert changed.any() and not (changed & ~inside).any()
        assert row.taken.sum() == row.pasted.sum()
        assert (row.result == row.source)[changed].all()


def test_without_foreground_nothing_is_pasted(shapes, tmp_path, capsys):
    method, own = sim(tau_high=1.0)
    root = open_root(own, shapes)
    made = draw_pictures(method, own, root, pictures_with_masks(own, root), tmp_path, "A test.")
    assert [entry["file"] for entry in made] == ["maps.jpg", "weights.jpg"]
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("A test. No sheet 'Pasted training images': no object of 48 training images")


@pytest.fixture
def trained(tmp_path):
    """A results folder in which a run of SIM looks finished; the plan and the run's id."""
    plan = make_plan("smoke")
    id = plan.row_runs("sim/3", "pseudo + paste")[plan.seeds[0]]
    own = plan.runs[id].recipe.settled()
    make_data(plan, tmp_path, shapes_root(own))
    root = open_root(own, run_root(own, tmp_path, "smoke", None))
    folder = tmp_path / "smoke" / "runs" / id
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_model(folder / "model.pt", id, 1, build_method(own, root.num_classes))
    write_json(folder / "train.json", {"data": {"root_name": root.name, "fingerprint": root.fingerprint}})
    return plan, id, tmp_path


def test_pictures_of_before_do_not_stay_beside_new_ones(trained, monkeypatch):
    plan, id, results = trained
    (listed,) = picture_runs(plan, [id], results, None)
    names = {entry["file"] for entry in json.loads(listed.read_text())}
    assert names and {path.name for path in listed.parent.iterdir()} == names | {"pictures.json"}
    (listed.parent / "of_before.jpg").touch()
    picture_runs(plan, [id], results, None)
    assert {path.name for path in listed.parent.iterdir()} == names | {"pictures.json"}

    def fail(*arguments):
        assert not list(listed.parent.iterdir())
        raise RuntimeError("out of memory")

    monkeypatch.setattr("wsis.methods.sim.pictures.draw_pictures", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        picture_runs(plan, [id], results, None)
    assert not list(listed.parent.iterdir())


def test_runs_without_pictures_are_refused_before_any_work(tmp_path):
    plan = make_plan("smoke")
    other = next(id for id, run in plan.runs.items() if run.recipe.method == "boxinst")
    with pytest.raises(WsisError, match="give a run of SIM"):
        picture_runs(plan, [other], tmp_path, None)
    with pytest.raises(WsisError, match="no run sim-0"):
        picture_runs(plan, ["sim-0"], tmp_path, None)
