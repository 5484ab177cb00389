"""SIM's sheets: labels, weights and pasted objects have their colours at their places; masks stay unseen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.methods.scenes import recipe
from wsis.data.roots import open_root
from wsis.data.shapes.write import write_shapes
from wsis.declare.specs.data import ShapesSpec
from wsis.methods import build_method
from wsis.methods.sim.paste_pictures import paste_rows
from wsis.methods.sim.pictures import Maps, draw, maps_sheet, scene_of, weight_tile
from wsis.pictures.canvas import (
    AMBIGUOUS,
    BACKGROUND,
    FOREGROUND,
    ORIGINAL,
    PASTED,
    PINK,
    object_colour,
    shade,
)
from wsis.pictures.choice import choose
from wsis.pictures.grid import Dot
from wsis.pictures.subject import Subject, pictures_with_masks


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    spec = ShapesSpec(size=64, train_images=24, val_images=8)
    return write_shapes(spec, 3, tmp_path_factory.mktemp("root") / "shapes")


def subject(shapes: Path, **knobs) -> Subject:
    """An untrained SIM whose every cell in a box is foreground, and what its pictures are drawn from."""
    settled = recipe(
        method="sim",
        sim={"tau_low": 0.01, "tau_high": 0.02, **knobs},
        data={"train": "train", "eval": "val", "short_side": [64], "eval_short_side": 64, "max_side": 64},
        schedule={"batch": 4},
    )
    torch.manual_seed(0)
    network, root = build_method(settled, 3).eval(), open_root(settled, shapes)
    return Subject(settled, root, None, pictures_with_masks(settled, root), {Path("run"): network})


def test_drawing_leaves_the_method_as_it_is(shapes):
    shown = subject(shapes)
    (method,) = shown.networks.values()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    sheets = draw(shown)
    assert [sheet.name for sheet in sheets] == ["maps", "weights", "pasted"] and all(s.rows for s in sheets)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert len(method.bank) == 0


def test_without_foreground_nothing_is_pasted(shapes):
    sheets = draw(subject(shapes, tau_high=1.0))
    assert [bool(sheet.rows) for sheet in sheets] == [True, True, False]
    assert sheets[2].absent.startswith("no object of 48 training images has a mask")


def test_the_method_sees_no_masks_and_the_sheet_sees_those_of_its_objects(shapes):
    shown = subject(shapes)
    picture, objects = choose(shown.pictures)[0]
    scene = scene_of(picture, shown.recipe, objects)
    assert scene.batch.targets[0].masks is None
    boxes = scene.batch.targets[0].boxes.round().long().tolist()
    assert len(scene.truth) == len(boxes)
    for mask, (x0, y0, x1, y1) in zip(scene.truth, boxes, strict=True):
        assert mask.any() and mask[y0:y1, x0:x1].sum() == mask.sum()


def test_a_row_of_maps_shows_its_object_in_every_column():
    """A square object whose left half is labelled foreground and whose right half is ambiguous."""
    soft = np.tile(np.linspace(0, 1, 96, dtype=np.float32), (96, 1))
    pseudo = np.zeros((96, 96), np.int8)
    pseudo[24:48, 24:36], pseudo[24:48, 36:48] = 1, -1
    box = np.array([24.0, 24, 48, 48])
    image = np.zeros((96, 96, 3), np.uint8)
    maps = Maps("image 1", "square", image, box, box[None] + 20, soft, soft, soft, pseudo, pseudo != 0)
    spec = recipe(method="sim", sim={}).sim
    sheet = maps_sheet(spec, [maps, replace(maps, semantic=soft / 2)])
    row, second = sheet.rows
    assert (row.group, row.name) == ("image 1", "square")
    assert len(row.tiles) == len(sheet.headings) and "0.00 to 1.00" in sheet.headings[1][1]
    assert all(np.array_equal(tile.marks[-1].box, box) for tile in row.tiles)
    assert [mark.colour for mark in row.tiles[0].marks] == [ORIGINAL, PINK]
    assert tuple(row.tiles[2].pixels[0, -1]) == shade(1) and tuple(row.tiles[2].pixels[0, 0]) == shade(0)
    assert np.abs(second.tiles[1].pixels[0, -1] - np.array(shade(0.5))).max() <= 1, "M_S has one scale"
    points = [(30, 30), (30, 40), (60, 60)]  # y, x
    labels, truth = ([tuple(tile.pixels[point]) for point in points] for tile in row.tiles[4:])
    assert labels == [FOREGROUND, AMBIGUOUS, BACKGROUND] and truth == [FOREGROUND, FOREGROUND, BACKGROUND]


def test_dots_show_weights_over_the_largest_of_the_same_object():
    view = SimpleNamespace(
        boxes=torch.zeros(3, 4),
        points=torch.arange(10.0).view(5, 2),
        objects=torch.tensor([0, 0, 2, 2, 2]),
    )
    tile = weight_tile(np.zeros((96, 96, 3), np.uint8), view, np.array([0.25, 0.75, 0.5, 0.3, 0.2]))
    dots = {(dot.x, dot.y): dot for dot in tile.marks if isinstance(dot, Dot)}
    radii = [dot.radius for dot in tile.marks if isinstance(dot, Dot)]
    assert radii == sorted(radii, reverse=True), "small dots lie on large ones"
    for point, owner, share in zip(view.points.tolist(), view.objects, (1 / 3, 1, 1, 0.6, 0.4), strict=True):
        dot = dots[tuple(point)]
        assert dot.colour == shade(share) and dot.rim == object_colour(owner)
        assert (dot.radius - 2.5) ** 2 == pytest.approx(8.5**2 * share), "areas are as the weights"


def test_composites_differ_from_their_targets_inside_pasted_boxes_only(shapes):
    shown = subject(shapes)
    (method,) = shown.networks.values()
    rows = paste_rows(method, shown)
    assert rows
    for row in rows:
        source, target, result = row.tiles
        changed = (result.pixels != target.pixels).any(-1)
        inside = np.zeros_like(changed)
        pasted = [mark.box.round().astype(int) for mark in result.marks if mark.colour == PASTED]
        for x0, y0, x1, y1 in pasted:
            inside[max(y0 - 2, 0) : y1 + 2, max(x0 - 2, 0) : x1 + 2] = True  # cells reach over the edge
        assert changed.any() and not (changed & ~inside).any()
        assert (result.pixels == source.pixels)[changed].all()
        assert sum(mark.colour == PASTED for mark in source.marks) == len(pasted)
        assert {mark.colour for mark in target.marks} == {ORIGINAL}
