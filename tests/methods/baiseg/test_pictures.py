"""BAISeg's pictures: which images are shown, what belongs to which object, and what a report gets."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as masks

from wsis.data.places import run_root
from wsis.data.roots import Instance, Picture, open_root
from wsis.engine.checkpoint import save_model
from wsis.errors import WsisError
from wsis.files import write_json
from wsis.jobs import make_data
from wsis.methods import build_method
from wsis.methods.baiseg import sheets
from wsis.methods.baiseg.boundary import instance_map
from wsis.methods.baiseg.extract.pipeline import Extraction, extract_steps
from wsis.methods.baiseg.maps import Maps
from wsis.methods.baiseg.pictures import contact_length, look, matched, region_instances, touching
from wsis.methods.baiseg.sheets import ContactRow, colours
from wsis.pictures import canvas
from wsis.pictures.job import PPC, picture_runs, without_ppc
from wsis.plan import make_plan, shapes_root

SIDE = 60


def rle(mask: np.ndarray) -> dict:
    return masks.encode(np.asfortranarray(mask.astype(np.uint8)))


def square(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def picture(id: int, *objects: tuple, crowd: int | None = None) -> Picture:
    """objects: (label, (x0, y0, x1, y1)) of squares; crowd: which of them is a crowd region."""
    instances = [
        Instance(place, label, tuple(map(float, box)), place == crowd, rle(square(*box)))
        for place, (label, box) in enumerate(objects)
    ]
    return Picture(id, Path("none.png"), SIDE, SIDE, instances)


LEFT, RIGHT, AWAY = (0, 0, 20, 20), (20, 0, 40, 20), (45, 45, 60, 60)


def test_only_images_with_touching_objects_of_one_class_are_shown():
    pictures = [
        picture(1, (0, LEFT), (1, RIGHT)),  # of two classes
        picture(2, (0, LEFT), (0, AWAY)),  # apart
        picture(3, (0, LEFT), (0, RIGHT), crowd=1),
        picture(4, (0, LEFT), (0, (20, 19, 40, 40))),  # meet in a single pixel's side
        picture(5, (0, LEFT), (0, (20, 0, 23, 20))),  # the second one can't be seen
        picture(6),
        picture(7, *[(0, (10 * i, 0, 10 * i + 10, 20)) for i in range(6)], (1, AWAY)),  # many
        picture(8, (1, AWAY), (0, LEFT), (0, RIGHT)),
        picture(9, (2, LEFT), (2, RIGHT)),
    ]
    assert [c.picture.id for c in touching(pictures, 5, 1)] == [8, 9, 7]
    assert [c.picture.id for c in touching(pictures, 1, 1)] == [8]
    assert touching(pictures[:6], 5, 1) == []


def test_the_longest_contact_comes_first_then_the_largest_objects():
    objects = [(1, AWAY), (0, (0, 20, 8, 40)), (0, LEFT), (0, RIGHT), (1, (42, 0, 60, 40))]
    (contact,) = touching([picture(1, *objects)], 1, 1)
    assert [instance.id for instance in contact.picture.instances] == [2, 3, 4, 0, 1]
    for instance, mask in zip(contact.picture.instances, contact.rles, strict=True):
        assert masks.decode(mask).tolist() == masks.decode(instance.segmentation).tolist()


def test_objects_touch_across_the_band_that_voc_leaves_between_them():
    pictures = [picture(1, (0, LEFT), (0, (26, 0, 46, 20)))]  # six pixels of void
    assert touching(pictures, 1, 1) == []
    assert len(touching(pictures, 1, 7)) == 1


@pytest.mark.parametrize("gap", [1, 3])
def test_a_contact_is_as_long_as_the_rim_that_is_near(gap):
    rng = np.random.default_rng(gap)
    one = np.kron(rng.random((6, 6)) < 0.4, np.ones((4, 4))).astype(np.uint8)
    other = np.kron(rng.random((6, 6)) < 0.4, np.ones((4, 4))).astype(np.uint8) & ~one & 1
    expected = 0
    for y, x in zip(*np.nonzero(one), strict=True):
        around = one[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        near = other[max(y - gap, 0) : y + gap + 1, max(x - gap, 0) : x + gap + 1]
        expected += bool((around == 0).any() and near.any())
    assert contact_length(one, other, gap) == expected > 0


def test_instances_are_matched_one_to_one_by_the_largest_sum_of_ious():
    rng = np.random.default_rng(0)
    for _ in range(10):
        found, truth = (
            [rle(np.kron(rng.random((5, 5)) < 0.3, np.ones((3, 3)))) for _ in range(n)] for n in (4, 3)
        )
        objects, ious = matched(found, truth)
        table = masks.iou(found, truth, [0] * 3)
        best = max(sum(table[r, c] for c, r in enumerate(rows)) for rows in permutations(range(4), 3))
        assert ious.sum() == pytest.approx(best)
        for place, target in enumerate(objects):
            assert target == -1 or ious[target] == table[place, target] > 0
        assert len(set(objects[objects >= 0])) == (objects >= 0).sum()
    objects, ious = matched([], [rle(square(*LEFT))])
    assert objects.shape == (0,) and ious.tolist() == [0]
    assert matched([rle(square(*LEFT))], [rle(square(*AWAY))])[0].tolist() == [-1]


class Given:
    """A method whose maps are given."""

    def __init__(self, boundary: np.ndarray | None, semantic: np.ndarray, **settings) -> None:
        self.extraction = Extraction(0.5, min_area=4, closing=3, **settings)
        ones = np.ones(semantic.shape, np.float32)
        self.made = Maps(np.zeros((*semantic.shape, 3), np.uint8), boundary, semantic, ones)

    def maps(self, samples):
        return [self.made]


def scene(line: bool = True, **settings):
    """A row of two squares of class 0 that touch and one of class 1, seen by a method.

    line: the boundary map separates the two.
    """
    boxes = [(2, 2, 22, 22), (22, 2, 42, 22), (30, 36, 50, 56)]
    truth = [square(*box) for box in boxes]
    semantic = (truth[0] | truth[1]) + 2 * truth[2].astype(np.uint8)
    boundary = np.full((SIDE, SIDE), 0.01, np.float32)
    for mask in (truth[0] | truth[1], truth[2]):
        inner = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
        boundary[mask & ~np.pad(inner, 1)] = 0.9
    if line:
        boundary[2:22, 21:23] = 0.9
    method = Given(boundary, semantic.astype(np.uint8), **settings)
    rles = [rle(mask) for mask in truth]
    sample = SimpleNamespace(size=(SIDE, SIDE))
    image = np.full((SIDE, SIDE, 3), 90, np.uint8)
    return ContactRow(
        "image 1",
        "square",
        image,
        (0, 0, SIDE, SIDE),
        instance_map(rles, (SIDE, SIDE)),
        np.array(boxes, float),
        [look(method, sample, rles)],
    )


CENTRES = [(12, 12), (12, 34), (46, 40)]  # y, x of the three objects


@pytest.mark.parametrize("settings", [{}, {"refine": False}, {"seeds": "literal"}])
def test_an_object_has_one_colour_in_every_column(settings):
    row = scene(**settings)
    seen = row.seen[0]
    assert seen.apart and (seen.ious > 0.8).all()
    label_map = sheets._label_map(seen)
    for place, (y, x) in enumerate(CENTRES):
        assert row.truth[y, x] == place + 1
        instance = seen.instances[y, x] - 1
        assert seen.objects[instance] == place
        assert seen.region_instances[seen.regions[y, x]] == instance
        ground, own = np.array(canvas.GROUND), np.array(canvas.OBJECTS[place])
        expected = sheets.STRONG * own + (1 - sheets.STRONG) * ground
        assert np.abs(label_map[y, x] - expected).max() <= 1
        shown = [sheets._truth(row, 4 * SIDE), sheets._instances(row, seen, 4 * SIDE)]  # words don't cover it
        assert shown[0].getpixel((4 * x, 4 * y)) == shown[1].getpixel((4 * x, 4 * y))
    assert (label_map[58, 2] == canvas.GROUND).all(), "no instance, no colour"


def test_two_objects_in_one_instance_are_not_told_apart():
    seen = scene(line=False).seen[0]
    assert not seen.apart
    assert sorted(seen.ious > 0) == [False, True, True]  # one instance can't match both


def test_regions_become_the_instances_that_were_made_of_them():
    rng = np.random.default_rng(1)
    semantic = np.kron(rng.integers(0, 3, (6, 6)), np.ones((10, 10))).astype(np.uint8)
    boundary = rng.random((SIDE, SIDE)).astype(np.float32) ** 4
    for seeds in ("literal", "semantic"):
        settings = Extraction(0.5, seeds=seeds, refine=False, min_area=4)
        steps = extract_steps(np.zeros((SIDE, SIDE, 3), np.uint8), boundary, semantic, settings)
        of_region = region_instances(steps)
        assert sorted(of_region[of_region >= 0]) == list(range(len(steps.instances))) and steps.instances
        for region, position in enumerate(of_region):
            if position >= 0:
                mask = masks.decode(steps.instances[position].mask) > 0
                assert np.array_equal(mask, steps.regions == region)


def test_instances_without_an_object_are_grey_and_their_neighbours_in_order_differ():
    shown = colours(np.array([-1, 1, -1, -1, 0, 7])).tolist()
    assert [tuple(c) for c in shown] == [
        sheets.EXTRA[0], canvas.OBJECTS[1], sheets.EXTRA[1], sheets.EXTRA[2], canvas.OBJECTS[0],
        canvas.OBJECTS[7 % len(canvas.OBJECTS)],
    ]  # fmt: skip


def count(sheet: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(sheet) == colour).all(-1).sum())


def test_sheets_fit_and_frames_say_whether_a_pair_is_told_apart(tmp_path):
    good, bad = scene(), scene(line=False)
    framed = {}
    for before, after in ((bad, good), (bad, bad), (good, good)):
        row = ContactRow(**{**vars(good), "seen": [before.seen[0], after.seen[0]]})
        sheet = sheets.contrast_sheet(("without", "with"), [row])
        framed[before is good, after is good] = count(sheet, sheets.APART), count(sheet, sheets.JOINED)
    (mixed, none, both) = (framed[key] for key in ((False, True), (False, False), (True, True)))
    frame = none[1] - mixed[1]  # pixels of one; the legend's swatches are in all sheets
    assert frame > 4 * 100 and mixed[0] - none[0] == frame == both[0] - mixed[0]
    for made in (sheet, sheets.steps_sheet([good] * 6), sheets.steps_sheet([scene(seeds="literal")])):
        assert made.width <= canvas.WIDTH
        canvas.save_sheet(made, tmp_path / "sheet.jpg")
        assert (tmp_path / "sheet.jpg").stat().st_size <= canvas.BYTES


def test_a_run_without_a_boundary_map_has_pictures():
    row = scene()
    method = Given(None, row.seen[0].semantic)
    truth = [rle(row.truth == place) for place in (1, 2, 3)]
    seen = look(method, SimpleNamespace(size=(SIDE, SIDE)), truth)
    assert seen.lines is None and not seen.apart
    assert sheets.steps_sheet([ContactRow(**{**vars(row), "seen": [seen]})]).width == canvas.WIDTH


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A results folder in which the whole method and the rows around PPC look finished."""
    set_ = {"data.shapes.val_images": 40}
    plan, results = make_plan("smoke", overrides=set_), tmp_path_factory.mktemp("results")
    table, before, after = PPC
    labels = {"before": before, "after": after, "whole": "CFM + DMA + PPC + refinement"}
    ids = {name: plan.row_runs(table, label)[plan.seeds[0]] for name, label in labels.items()}
    for id in ids.values():
        recipe = plan.runs[id].recipe.settled()
        make_data(plan, results, shapes_root(recipe))
        root = open_root(recipe, run_root(recipe, results, "smoke", None))
        folder = results / "smoke" / "runs" / id
        folder.mkdir(parents=True)
        torch.manual_seed(0)
        save_model(folder / "model.pt", id, 1, build_method(recipe, root.num_classes))
        data = {"root_name": root.name, "fingerprint": root.fingerprint}
        write_json(folder / "train.json", {"data": data, "threshold": {"value": 0.37}})
    return SimpleNamespace(plan=plan, results=results, **ids)


def drawn(trained, id: str) -> tuple[list[dict], Path]:
    (path,) = picture_runs(trained.plan, [id], trained.results, None)
    entries = json.loads(path.read_text())
    assert {file.name for file in path.parent.iterdir()} == {e["file"] for e in entries} | {path.name}
    for entry in entries:
        assert Image.open(path.parent / entry["file"]).size == (entry["width"], entry["height"])
    return entries, path


def test_the_whole_method_shows_its_steps_at_its_chosen_threshold(trained):
    (entry,), _ = drawn(trained, trained.whole)
    assert entry["file"] == "steps.jpg" and "cut at 0.37" in entry["caption"]
    assert trained.whole in entry["caption"]


def test_the_run_with_ppc_is_shown_beside_the_one_without(trained, capsys):
    assert without_ppc(trained.plan, trained.after) == trained.before
    assert without_ppc(trained.plan, trained.whole) is without_ppc(trained.plan, trained.before) is None
    (entry,), path = drawn(trained, trained.after)
    assert entry["file"] == "ppc.jpg"
    assert trained.before in entry["caption"] and trained.after in entry["caption"]

    train = path.parents[2] / trained.before / "train.json"
    train.rename(train.with_suffix(".away"))
    entries, _ = drawn(trained, trained.after)
    assert entries == [] and f"{trained.before}, the run without it, isn't trained" in capsys.readouterr().out
    content = json.loads(train.with_suffix(".away").read_text())
    write_json(train, {**content, "data": {**content["data"], "fingerprint": "0" * 10}})
    with pytest.raises(WsisError, match="was trained on"):
        drawn(trained, trained.after)
    train.with_suffix(".away").rename(train)


def test_the_pair_of_a_seed_is_of_that_seed():
    plan = make_plan("smoke", seeds=(3, 4))
    for seed, id in plan.row_runs(*PPC[::2]).items():
        assert plan.runs[without_ppc(plan, id)].seed == seed


def test_a_mask_rcnn_on_masks_by_baiseg_has_no_pictures(trained):
    runs = trained.plan.runs
    of_baiseg = [
        id
        for id, run in runs.items()
        if run.recipe.proxy and runs[run.recipe.proxy.parent].recipe.method == "baiseg"
    ]
    assert of_baiseg
    with pytest.raises(WsisError, match="which made its masks"):
        picture_runs(trained.plan, of_baiseg[:1], trained.results, None)
