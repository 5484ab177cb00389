"""VOC's bands of void: labels to learn from have none, and nothing of an object's border within a class."""

import numpy as np
import pytest
import torch

from tests.methods.baiseg.semantic_streams import baiseg
from wsis.data import voc
from wsis.data.roots import open_root
from wsis.methods.baiseg.batches import semantic_batches, semantic_samples, training_samples
from wsis.methods.baiseg.boundary_loss import contours
from wsis.methods.baiseg.semantic import BAND, VOID, SemanticMaps, without_bands

AMBIGUOUS = 254


def banded(first: int, second: int) -> np.ndarray:
    """Two rectangles, each in a band of void five pixels wide, that touch through it; background around."""
    semantic = np.zeros((40, 60), np.uint8)
    semantic[8:32, 8:52] = VOID
    semantic[13:27, 13:27], semantic[13:27, 32:47] = first, second
    return semantic


def nearest(semantic: np.ndarray) -> np.ndarray:
    """Pixel by pixel: the label at the least distance; AMBIGUOUS where two labels are equally near."""
    known = np.argwhere(semantic != VOID)
    found = semantic.copy()
    for place in np.argwhere(semantic == VOID):
        distance = np.hypot(*(known - place).T)
        if distance.min() <= BAND:
            labels = {int(semantic[tuple(k)]) for k in known[distance == distance.min()]}
            found[tuple(place)] = min(labels) if len(labels) == 1 else AMBIGUOUS
    return found


def test_void_within_the_band_takes_the_nearest_label():
    semantic, expected = banded(1, 2), nearest(banded(1, 2))
    (filled,) = without_bands(semantic)
    clear = expected != AMBIGUOUS
    assert (filled[clear] == expected[clear]).all() and clear.mean() > 0.9
    assert (filled == VOID).sum() < 0.05 * (semantic == VOID).sum()  # where bands meet


def test_large_void_stays_and_a_map_of_nothing_else_is_left_alone():
    semantic = np.full((30, 30), VOID, np.uint8)
    assert (without_bands(semantic)[0] == VOID).all()
    semantic[:, :5] = 0
    (filled,) = without_bands(semantic)
    assert (filled[:, :8] == 0).all() and (filled[:, 8:] == VOID).all()


@pytest.mark.parametrize("second", [1, 2])
def test_contours_lie_between_classes_and_never_between_objects_of_one(second):
    edge, valid = contours(torch.from_numpy(without_bands(banded(1, second))[0])[None])
    middle = edge[0, 16:24, 27:32]  # the band between the two
    assert valid[0, 16:24, 27:32].all() and middle.any() == (second == 2)
    assert edge[0, :13].any()
    untouched, _ = contours(torch.from_numpy(banded(1, second))[None])
    assert not untouched.any()  # why the bands have to go


def test_masks_for_another_network_come_from_maps_without_bands(shared):
    """The bands part touching objects of one class; given semantics at inference keep them."""
    recipe = baiseg("voc", train_images=8, own={"eval_semantics": "ground_truth"})
    root = open_root(recipe, shared("voc_from_coco"))
    raw = SemanticMaps(root, "train")
    for picture, sample in zip(root.train, training_samples(recipe, root, root.train), strict=True):
        read = raw.read(picture)
        assert (sample.semantic == VOID).sum() < 0.2 * (read == VOID).sum()
        known = read != VOID
        assert (sample.semantic[known] == read[known]).all()
    evaluated = next(iter(semantic_samples(recipe, root)))
    assert (evaluated.semantic == VOID).any()


def test_only_the_wanted_images_of_a_voc_split_are_opened(shared, monkeypatch):
    recipe = baiseg("voc")
    root = open_root(recipe, shared("voc_from_coco"))
    wanted, opened = {picture.id for picture in root.train[:3]}, []
    read = voc.read_indices
    monkeypatch.setattr(voc, "read_indices", lambda path: opened.append(path) or read(path))
    pictures = root.with_masks("train", wanted)
    assert {picture.id for picture in pictures} == wanted
    assert len(opened) == 2 * 3 and all(i.segmentation for p in pictures for i in p.instances)


def test_instances_are_filled_from_the_same_pixels_and_touch():
    """Of two objects of one class the semantic map keeps no border, the instance map one in the band."""
    semantic, instances = banded(1, 1), np.zeros((40, 60), np.int16)
    instances[13:27, 13:27], instances[13:27, 32:47] = 1, 2
    filled, objects = without_bands(semantic, instances)
    assert ((objects > 0) == (filled == 1)).all()
    middle = objects[16:24, 26:33]
    assert set(np.unique(middle)) == {1, 2} and (np.diff(middle, axis=1) != 0).sum(1).max() == 1
    edge, _ = contours(torch.from_numpy(objects)[None], void=-1)
    rim, _ = contours(torch.from_numpy(filled)[None])
    assert (edge[0] | ~rim[0]).all()  # every contour of a class is one of an object


def test_the_control_learns_contours_where_the_classes_have_theirs(shared):
    recipe = baiseg("voc", supervision="masks", crop=160, batch=4)
    batch = next(iter(semantic_batches(recipe, open_root(recipe, shared("voc_from_coco")))))[0]
    edge, _ = contours(batch.instances, void=-1)
    rim, valid = contours(batch.semantic)
    assert (edge[rim & valid]).float().mean() > 0.95
