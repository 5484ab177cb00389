"""What the runs of a process share: batches with notes on them, equal to those of a plain stream."""

import json
import shutil
from dataclasses import dataclass, fields
from functools import cache, partial
from itertools import islice

import numpy as np
import pytest
import torch
from pycocotools import mask as rle

from tests.methods.baiseg import scenes as baiseg
from tests.methods.boxcaseg import scenes as boxcaseg
from tests.methods.sim.toy import sim_recipe
from wsis.data import shared
from wsis.data.loading import Shard, eval_samples, train_batches
from wsis.data.roots import open_root
from wsis.data.salient import open_salient
from wsis.data.shapes.write import write_shapes
from wsis.data.structures import Memo, Sample
from wsis.declare.load import merged
from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import ShapesSpec
from wsis.engine.step import batches
from wsis.methods import build_method
from wsis.methods.baiseg.batches import semantic_batches
from wsis.methods.boxcaseg.patches import patch_batches

SHAPES = ShapesSpec(size=64, train_images=10, val_images=3, salient_images=6)
READ = {
    "train": "train", "eval": "val", "short_side": [64], "eval_short_side": 64, "max_side": 64,
    "augment": "dihedral",
}  # fmt: skip
KINDS = pytest.mark.parametrize("kind", ["boxinst", "boxcaseg", "baiseg"])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_shapes(SHAPES, 0, tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Nothing is kept of other tests, as in a process that has just started."""
    monkeypatch.setattr(shared, "_STREAMS", shared._Kept(1))
    monkeypatch.setattr(shared, "_SAMPLES", shared._Kept(3))


def recipe(kind="boxinst", **over):
    """Keys with a double underscore reach into sections; at first a row on a base that is frozen."""
    plain = {
        "boxinst": lambda: sim_recipe(method="boxinst", sim=None),
        "boxcaseg": lambda: boxcaseg.recipe(patch=32, side=32, salient_images=5),
        "baiseg": lambda: baiseg.recipe(crop=48),
    }[kind]()
    own = {"model.trained": "masks", "init": {"parent": "base"}, "schedule.batch": 4, "data": READ}
    tree = merged(plain.model_dump(mode="json"), own)
    return Recipe.model_validate(
        merged(tree, {key.replace("__", "."): value for key, value in over.items()}), strict=False
    )


method_of = cache(partial(build_method, num_classes=3))


def read(recipe, place, start=0, count=6, micro=2, proxies=None):
    """Iterations from the stream that a run of this recipe trains on."""
    root, salient = open_root(recipe, place, proxies), _salient(recipe, place)
    found = batches(method_of(recipe), root, salient, Shard(start, micro=micro))
    return list(islice(found, count))


def plain(recipe, place, start=0, count=6, micro=2, proxies=None):
    """The same from the data alone."""
    root, salient = open_root(recipe, place, proxies), _salient(recipe, place)
    if recipe.method == "boxcaseg":
        found = patch_batches(recipe, root, salient, Shard(start, micro=micro))
    else:
        make = semantic_batches if recipe.method == "baiseg" else train_batches
        found = make(recipe, root, Shard(start, micro=micro))
    return list(islice(found, count))


def _salient(recipe, place):
    return open_salient(place / "salient") if recipe.boxcaseg else None


def assert_same(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            _assert_same(a, b)


def _assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            _assert_same(x, y)
    elif hasattr(a, "__dataclass_fields__"):
        for entry in fields(a):
            if entry.name != "memo":
                _assert_same(getattr(a, entry.name), getattr(b, entry.name))
    else:
        assert a == b


def note(found, start=0):
    """Write where they stand on batches of iterations from `start` on."""
    for t, micros in enumerate(found, start):
        for m, batch in enumerate(micros):
            assert batch.memo.setdefault("place", (t, m)) == (t, m), "a note of another batch"


def noted(found):
    return ["place" in batch.memo for micros in found for batch in micros]


@KINDS
def test_from_whatever_iteration_on_the_batches_are_those_of_the_plain_stream(kind, place):
    row = recipe(kind)
    for start, count in [(5, 3), (0, 6), (5, 6), (20, 2), (3, 5), (0, 25)]:
        found = read(row, place, start, count)
        assert_same(found, plain(row, place, start, count))
        note(found, start)
    assert all(noted(read(row, place, 0, 25)))


@KINDS
def test_notes_are_those_of_the_same_images(kind, place):
    note(read(recipe(kind), place))
    found = read(recipe(kind), place, 2, 6)
    note(found, 2)
    assert noted(found) == [True] * 8 + [True] * 4


def test_a_run_that_trains_everything_shares_nothing(place):
    row = recipe(model__trained="all", init=None)
    note(read(row, place))
    found = read(row, place)
    assert not any(noted(found))
    assert_same(found, plain(row, place))


def test_several_processes_share_nothing_of_a_batch_that_they_split(place):
    row = recipe()
    root = open_root(row, place)
    for rank in (0, 1):
        found = list(islice(batches(method_of(row), root, None, Shard(0, rank, 2)), 3))
        assert_same(found, list(islice(train_batches(row, root, Shard(0, rank, 2)), 3)))
        assert not any(noted(found))
        note(found)


# Other masks of the same images


@pytest.mark.parametrize("order", [("boxes", "masks"), ("masks", "boxes"), ("masks-voc", "masks-nonvoc")])
def test_rows_with_other_supervision_see_their_own_masks_and_find_the_notes(order, place):
    rows = [recipe(data__supervision=kind) for kind in order]
    for row in (*rows, *rows):
        found = read(row, place)
        assert_same(found, plain(row, place))
        note(found)
    assert all(noted(read(rows[1], place, 3, 2)))


def test_the_control_that_sees_instances_shares_crops_with_rows_that_do_not(place):
    rows = [recipe("baiseg", data__supervision=kind) for kind in ("semantic", "masks")]
    for row in (*rows, *rows):
        found = read(row, place)
        assert_same(found, plain(row, place))
        assert all((b.instances is None) == (row is rows[0]) for micros in found for b in micros)
        note(found)
    assert all(noted(read(rows[0], place)))


def masks_made(place, shrink):
    """Annotation id -> a mask for every training object: its box without `shrink` pixels at each side."""
    content = json.loads((place / "annotations" / "instances_train.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    found = {}
    for entry in content["annotations"]:
        x, y, w, h = (round(value) for value in entry["bbox"])
        canvas = np.zeros(sizes[entry["image_id"]], np.uint8, order="F")
        canvas[y + shrink : y + h - shrink, x + shrink : x + w - shrink] = 1
        found[entry["id"]] = rle.encode(canvas)
    return found


def learner(merge=True):
    proxy = {"parent": "boxcaseg-0123456789", "merge": merge}
    return recipe(method="mask_rcnn", data__supervision="proxy", proxy=proxy)


def test_masks_that_another_run_made_are_the_rows_own(place):
    all_of_them, fewer = masks_made(place, 0), dict(list(masks_made(place, 2).items())[::2])
    for row, proxies in [(learner(), all_of_them), (learner(merge=False), fewer), (learner(), all_of_them)]:
        found = read(row, place, proxies=proxies)
        assert_same(found, plain(row, place, proxies=proxies))
        note(found)
    assert all(noted(read(recipe(method="mask_rcnn", data__supervision="masks"), place)))


def test_masks_of_a_network_that_was_trained_again_are_the_new_ones(place):
    """Its recipe, and with it the learner's, is the same as before."""
    for shrink in (0, 3):
        proxies = masks_made(place, shrink)
        assert_same(read(learner(), place, proxies=proxies), plain(learner(), place, proxies=proxies))


def objects_made(place, shift):
    """Image id -> two objects of its own, as of a network that knows no boxes."""
    found = {}
    for image in json.loads((place / "annotations" / "instances_train.json").read_text())["images"]:
        entries = []
        for n in range(2):
            canvas = np.zeros((image["height"], image["width"]), np.uint8, order="F")
            x, y = 5 + 25 * n, 8 + 20 * n + shift
            canvas[y : y + 20, x : x + 15] = 1
            entries.append(
                {"annotation_id": 10 * image["id"] + n, "category_id": 1, "bbox": [x, y, 15, 20],
                 "rle": rle.encode(canvas)}
            )  # fmt: skip
        found[image["id"]] = entries
    return found


def test_objects_of_another_network_have_boxes_of_their_own_and_no_notes_on_others(place):
    proxy = {"parent": "baiseg-0123456789", "instances": True, "merge": False, "drop": None}
    row = recipe(method="mask_rcnn", data__supervision="proxy", proxy=proxy)
    note(read(recipe(method="mask_rcnn", data__supervision="masks"), place))
    for shift in (0, 9):  # the network was trained again
        proxies = objects_made(place, shift)
        found = read(row, place, proxies=proxies)
        assert not any(noted(found)), "positives are those of the boxes"
        assert_same(found, plain(row, place, proxies=proxies))
        note(found)
        assert all(noted(read(row, place, proxies=proxies)))


# Other images


OTHERS = {
    "boxinst": [
        {"seed": 1}, {"schedule__batch": 6}, {"data__augment": "flip"}, {"data__short_side": [48]},
        {"data__train_images": 7}, {"data__train": "val"},
    ],
    "boxcaseg": [
        {"seed": 1}, {"schedule__batch": 6}, {"boxcaseg__ratio": "8:8"}, {"boxcaseg__salient_images": 4},
        {"boxcaseg__shift": "full"}, {"boxcaseg__normalise": "imagenet"}, {"boxcaseg__patch": 16},
        {"boxcaseg__side": 48}, {"boxcaseg__heads": ["weak"], "data__supervision": "boxes"},
    ],
    "baiseg": [
        {"seed": 1}, {"schedule__batch": 6}, {"baiseg__crop": 32}, {"data__augment": "none"},
        {"data__short_side": [48]},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "other"), [(kind, other) for kind, others in OTHERS.items() for other in others], ids=str
)
def test_another_stream_of_images_gets_no_notes(kind, other, place):
    note(read(recipe(kind), place))
    row = recipe(kind, **other)
    found = read(row, place)
    assert not any(noted(found))
    assert_same(found, plain(row, place))
    assert not any(noted(read(recipe(kind), place))), "one stream is kept"


def test_another_split_into_micro_batches_gets_no_notes(place):
    note(read(recipe(), place))
    found = read(recipe(), place, micro=1)
    assert not any(noted(found))
    assert_same(found, plain(recipe(), place, micro=1))


@KINDS
def test_heads_and_losses_do_not_change_what_is_seen(kind, place):
    other = {
        "boxinst": {"method": "condinst", "loss__pairwise": None, "schedule__iterations": 7},
        "boxcaseg": {"boxcaseg__alpha": 0.1, "boxcaseg__smooth": 0.5, "boxcaseg__bags": "box"},
        "baiseg": {"baiseg__cfm": False, "baiseg__cascades": 1, "baiseg__ppc": False},
    }[kind]
    note(read(recipe(kind), place))
    assert all(noted(read(recipe(kind, **other), place)))


def test_heads_that_see_fewer_patches_share_none(place):
    """Without the weak head no box is seen: other batches at the same place."""
    note(read(recipe("boxcaseg"), place))
    row = recipe("boxcaseg", boxcaseg__heads=["salient"])
    found = read(row, place)
    assert_same(found, plain(row, place))
    assert not any(noted(found))


def test_another_root_gets_no_notes(place, tmp_path):
    note(read(recipe(), place))
    shutil.copytree(place, tmp_path / "shapes")
    assert not any(noted(read(recipe(), tmp_path / "shapes")))


def test_an_edited_root_is_read_again(place, tmp_path):
    copy = tmp_path / "shapes"
    shutil.copytree(place, copy)
    note(read(recipe(), copy))
    file = copy / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    for entry in content["annotations"]:
        x, y, w, h = entry["bbox"]
        entry["bbox"] = [x, y, w - 2, h - 2]
    file.write_text(json.dumps(content))
    found = read(recipe(), copy)
    assert not any(noted(found))
    assert_same(found, plain(recipe(), copy))


# Memory


@dataclass
class Note:
    values: torch.Tensor


def test_bytes_are_counted_through_everything_that_is_noted():
    three, five = torch.zeros(3), torch.zeros(5, dtype=torch.uint8)
    assert shared.size_of({"a": [three, (five, None, "text")], 2: Note(three)}) == 12 + 5 + 12
    assert shared.size_of([np.zeros((2, 3), np.float32)]) == 24
    kept = Memo()
    kept.once("key", lambda: [five])
    assert shared.size_of(kept) == 5


def test_a_process_keeps_no_more_than_the_limit_and_the_rest_is_the_same(place, monkeypatch):
    row, large = recipe(), torch.zeros(1000)
    one = sum(shared.size_of(batch) for batch in plain(row, place, 0, 1)[0])
    monkeypatch.setattr(shared, "LIMIT", 3 * (one + large.nbytes))
    for _ in range(2):
        for t, micros in enumerate(
            islice(batches(method_of(row), open_root(row, place), None, Shard(micro=2)), 8)
        ):
            assert_same([micros], plain(row, place, t, 1))
            micros[0].once("large", large.clone)
    kept = noted_large(read(row, place, 0, 8))
    assert kept == sorted(kept, reverse=True) and 3 <= sum(kept) <= 4, "some stay, the first ones"
    other = recipe(seed=1)
    note(read(other, place))
    assert all(noted(read(other, place, 0, 3))), "another stream takes the place of the first"


def noted_large(found):
    return ["large" in micros[0].memo for micros in found]


# Evaluation images


def test_images_of_a_split_are_shared_by_what_a_network_gets_of_them(place):
    row = recipe()

    def seen(row, split="val", root=place):
        opened = open_root(row, root)
        return list(shared.shared_samples(shared.samples_key(row, opened, split), eval_samples(row, opened)))

    for sample in seen(row):
        sample.memo["note"] = sample.id
    assert all(sample.memo == {"note": sample.id} for sample in seen(recipe(seed=5)))
    for other, split in [(row, "train"), (recipe(data__eval_short_side=48), "val")]:
        assert not any(sample.memo for sample in seen(other, split))


def test_notes_on_images_keep_to_the_limit_whoever_leaves_them(monkeypatch):
    """A group of them is given to a network at once, which notes something on the first."""
    note, images = np.zeros(1000, np.uint8), list(range(100))
    monkeypatch.setattr(shared, "LIMIT", 30 * len(note))

    def run(name, key="split"):
        found, group = [], []
        samples = shared.shared_samples(key, (Sample(torch.zeros(3, 2, 2), (2, 2), n) for n in images))
        for sample in samples:
            group.append(sample)
            if len(group) == 4 or sample.id == images[-1]:
                found += [s.memo.get(name) is not None for s in group]
                for s in group:
                    s.once(name, note.copy)
                group.clear()
        return found

    assert run("first") == [False] * 100
    kept = run("first")
    assert kept == sorted(kept, reverse=True) and 30 <= sum(kept) <= 30 + shared.GROUP + 4
    assert not any(run("second")) and run("first") == kept, "the others find no room, and take none"
    assert sum(run("second")) <= shared.GROUP
    assert run("first", "another split") == [False] * 100 and not any(run("first", "another split"))
