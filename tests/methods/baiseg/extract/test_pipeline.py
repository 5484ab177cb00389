"""The pipeline on hand-made boundary maps: closed, broken, with a hole, at the border, empty, full."""

import numpy as np
import pytest
from pycocotools import mask as masks

from tests.methods.baiseg.extract.scenes import blank, contours, soft, voronoi
from wsis.errors import WsisError
from wsis.methods.baiseg.extract.pipeline import extract
from wsis.methods.baiseg.extract.seeds import VOID
from wsis.methods.baiseg.spec import BaisegSpec

SIZE = (60, 70)
LITERAL = BaisegSpec(threshold=0.3, seeds="literal", min_area=20)
SEMANTIC = BaisegSpec(threshold=0.3, seeds="semantic", min_area=20)


def changed(settings, **keys):
    return settings.model_copy(update=keys)


BOTH = pytest.mark.parametrize("settings", [LITERAL, SEMANTIC], ids=["literal", "semantic"])


def disc(centre, radius, size=SIZE):
    rows, columns = np.indices(size)
    return np.hypot(rows - centre[0], columns - centre[1]) < radius


def iou(instance, mask):
    found = masks.decode(instance.mask).astype(bool)
    return (found & mask).sum() / (found | mask).sum()


def run(boundary, semantic, settings, **maps):
    return extract(blank(semantic.shape), boundary, semantic, settings, **maps).instances


@BOTH
@pytest.mark.parametrize("thin", [True, False])
def test_a_closed_ring_is_one_instance(settings, thin):
    shape = disc((30, 35), 17)
    (found,) = run(soft(contours(shape)), shape * np.uint8(4), changed(settings, thin=thin))
    assert found.label == 3
    assert iou(found, shape) > 0.93
    assert 0.5 < found.score < 1


@BOTH
def test_a_broken_ring_is_found_only_where_seeds_know_the_class(settings):
    shape = disc((30, 35), 17)
    edge = contours(shape)
    edge[24:36, 40:] = False
    found = run(soft(edge), shape * np.uint8(1), settings)
    if settings.seeds == "literal":  # inside and outside are one region, mostly background
        assert found == []
    else:
        assert len(found) == 1 and iou(found[0], shape) > 0.95


@BOTH
def test_a_break_of_suppression_alone_does_not_leak(settings):
    """Two squares of a class that share a corner pixel's neighbourhood: the line between them turns there."""
    labels = np.zeros(SIZE, np.int32)
    labels[10:30, 10:30], labels[30:50, 30:50] = 1, 2
    found = run(soft(contours(labels)), (labels > 0).astype(np.uint8), settings)
    assert sorted(round(iou(i, labels == n), 1) for n in (1, 2) for i in found) == [0, 0, 1, 1]


@BOTH
def test_a_ring_with_a_hole(settings):
    outer, hole = disc((30, 35), 22), disc((30, 35), 9)
    shape = outer & ~hole
    (found,) = run(soft(contours(shape)), shape * np.uint8(1), settings)
    assert iou(found, shape) > 0.9
    assert masks.decode(found.mask)[30, 35] == 0


@BOTH
@pytest.mark.parametrize("centre", [(0, 0), (30, 0), (59, 35), (59, 69)])
def test_an_object_at_the_border(settings, centre):
    shape = disc(centre, 20)
    (found,) = run(soft(contours(shape)), shape * np.uint8(2), settings)
    assert iou(found, shape) > 0.9
    rows, columns = np.nonzero(shape)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert np.abs(np.subtract(found.box, box)).max() <= 2


def test_an_empty_map_leaves_the_components_of_the_semantic_map():
    shape = disc((20, 20), 12) | disc((45, 55), 10)
    semantic = shape * np.uint8(1)
    empty = np.zeros(SIZE, np.float32)
    assert run(empty, semantic, LITERAL) == []  # one region, mostly background
    found = run(empty, semantic, SEMANTIC)
    plain = run(None, semantic, SEMANTIC)
    assert [i.mask for i in found] == [i.mask for i in plain]
    assert len(found) == 2 and {i.score for i in found} == {1.0}


@BOTH
@pytest.mark.parametrize("thin", [True, False])
def test_all_boundary_and_all_void_give_nothing(settings, thin):
    settings = changed(settings, thin=thin)
    shape = disc((30, 35), 17)
    assert run(np.ones(SIZE, np.float32), shape * np.uint8(1), settings) == []
    assert run(soft(contours(shape)), np.full(SIZE, VOID, np.uint8), settings) == []
    assert run(None, np.full(SIZE, VOID, np.uint8), settings) == []


@BOTH
def test_two_touching_squares_are_told_apart_by_a_line_only(settings):
    labels = np.zeros(SIZE, np.int32)
    labels[15:45, 10:35], labels[15:45, 35:60] = 1, 2
    semantic = (labels > 0).astype(np.uint8)
    apart = run(soft(contours(labels)), semantic, settings)
    assert len(apart) == 2
    assert sorted(round(iou(i, labels == n), 1) for n in (1, 2) for i in apart) == [0, 0, 1, 1]
    (joined,) = run(soft(contours(semantic)), semantic, settings)
    assert iou(joined, labels > 0) > 0.9


@pytest.mark.parametrize("area, kept", [(1, True), (2, False)])
def test_an_object_of_one_pixel(area, kept):
    semantic = np.zeros((9, 9), np.uint8)
    semantic[4, 4] = 1
    ring = np.zeros((9, 9), np.float32)
    ring[3:6, 3:6] = 1
    ring[4, 4] = 0
    for boundary in (ring, None):
        found = run(boundary, semantic, changed(SEMANTIC, min_area=area))
        assert [i.box for i in found] == ([(4, 4, 5, 5)] if kept else [])
    # Literal seeds have no least area; the region wins half the ring, so its class is the background's.
    assert run(ring, semantic, changed(LITERAL, min_area=area)) == []
    assert [i.box for i in run(None, semantic, changed(LITERAL, min_area=2))] == [(4, 4, 5, 5)]


@BOTH
def test_thresholds_at_their_limits(settings):
    cells, _ = voronoi(3, SIZE)
    boundary, semantic = soft(contours(cells)), np.ones(SIZE, np.uint8)
    none = run(boundary, semantic, changed(settings, threshold=1.0))
    assert len(none) == 1 and iou(none[0], np.ones(SIZE, bool)) == 1
    every = extract(blank(SIZE), boundary, semantic, changed(settings, threshold=0.0, thin=False))
    np.testing.assert_array_equal(every.lines, boundary > 0)


@BOTH
@pytest.mark.parametrize("turn", [np.fliplr, np.flipud, lambda a: a.swapaxes(0, 1)])
def test_orientation_does_not_matter(settings, turn):
    cells, _ = voronoi(4, SIZE)
    semantic = (cells % 3).astype(np.uint8)
    boundary = soft(contours(cells))
    plain = run(boundary, semantic, settings)
    turned = run(*(np.ascontiguousarray(turn(array)) for array in (boundary, semantic)), settings)
    assert len(turned) == len(plain) > 3
    for instance in turned:
        mask = turn(masks.decode(instance.mask)).astype(bool)
        best = max(plain, key=lambda other: iou(other, mask))
        assert iou(best, mask) > 0.97 and best.label == instance.label
        assert best.score == pytest.approx(instance.score, abs=0.02)


@BOTH
def test_names_of_classes_do_not_matter(settings):
    cells, _ = voronoi(6, SIZE)
    semantic = (cells % 4).astype(np.uint8)
    names = np.array([0, 9, 3, 80], np.uint8)
    boundary = soft(contours(cells))
    plain, renamed = (run(boundary, values, settings) for values in (semantic, names[semantic]))
    expected = {(i.mask["counts"], int(names[i.label + 1]) - 1, i.score) for i in plain}
    assert {(i.mask["counts"], i.label, i.score) for i in renamed} == expected


@BOTH
def test_refinement_keeps_to_the_class_and_off_lets_regions_out(settings):
    shape = disc((30, 35), 17)
    semantic = shape * np.uint8(1)
    boundary = soft(contours(disc((30, 37), 18)))  # the response is not where the semantic contour is
    (on,) = run(boundary, semantic, settings)
    (off,) = run(boundary, semantic, changed(settings, refine=False))
    inside = masks.decode(on.mask).astype(bool)
    assert not (inside & ~shape).any()
    assert (masks.decode(off.mask).astype(bool) & ~shape).any()
    assert iou(on, shape) > iou(off, shape)


def test_the_image_as_relief_puts_the_limit_where_its_gradient_is():
    labels = np.ones(SIZE, np.int32)
    labels[:, 35:] = 2
    image = blank(SIZE)
    image[:, 37:] = 250
    boundary = np.zeros(SIZE, np.float32)
    boundary[:, 31:40] = 1
    semantic = np.ones(SIZE, np.uint8)
    for settings in (LITERAL, SEMANTIC):
        settings = changed(settings, thin=False, closing=1)
        flooded = extract(image, boundary, semantic, changed(settings, relief="image")).instances
        assert sorted(i.box[2] - i.box[0] for i in flooded) == pytest.approx([33, 37], abs=1)


def test_certainty_scales_scores():
    cells, _ = voronoi(8, SIZE)
    semantic, boundary = (cells % 3).astype(np.uint8), soft(contours(cells))
    plain = run(boundary, semantic, SEMANTIC)
    scaled = run(boundary, semantic, SEMANTIC, certainty=np.full(SIZE, 0.5, np.float32))
    assert [i.score for i in scaled] == pytest.approx([i.score / 2 for i in plain])
    assert [i.score for i in plain] == sorted((i.score for i in plain), reverse=True)


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"semantic": np.zeros((60, 71), np.uint8)}, "semantic map of shape"),
        ({"semantic": np.zeros(SIZE, np.int64)}, "semantic map holds int64"),
        ({"boundary": np.zeros((30, 35), np.float32)}, "boundary map of shape"),
        ({"boundary": np.full(SIZE, 1.5, np.float32)}, "outside"),
        ({"boundary": np.full(SIZE, np.nan, np.float32)}, "outside"),
        ({"boundary": np.zeros(SIZE)}, "float64"),
        ({"certainty": np.zeros((70, 60), np.float32)}, "certainty map of shape"),
        ({"image": np.zeros(SIZE, np.uint8)}, "RGB"),
    ],
)
def test_maps_that_do_not_fit_are_refused(changed, words):
    maps = {
        "image": blank(SIZE),
        "boundary": np.zeros(SIZE, np.float32),
        "semantic": np.zeros(SIZE, np.uint8),
        **changed,
    }
    with pytest.raises(WsisError, match=words):
        extract(**maps, settings=SEMANTIC)
