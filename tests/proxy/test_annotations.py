"""Proxy annotations: every annotation stays, dropped masks are boxes to ignore, and the file is COCO's."""

import json
import tracemalloc

import numpy as np
import pytest
from pycocotools import mask as masks
from pycocotools.coco import COCO

from wsis.declare.specs.parents import ProxySpec
from wsis.proxy.agreement import agreements
from wsis.proxy.annotations import ProxyStats, proxy_annotations, proxy_masks, write_annotations
from wsis.proxy.merge import merge

CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


def annotated(image, seed=0, **rules):
    stats = ProxyStats()
    return proxy_annotations(image, ProxySpec(parent="p", **rules), stats, seed), stats


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("convention", ["exact", "plus_one"])
@pytest.mark.parametrize("merged", [True, False])
def test_kept_masks_are_those_of_the_rules_done_one_by_one(image_of, seed, convention, merged):
    image = image_of(seed, size=(40, 50))
    objects = image["objects"]
    rles = [entry["rle"] for entry in objects]
    if merged:
        rles = merge(rles, np.array([entry["bbox"] for entry in objects]))
    annotations, stats = annotated(image, merge=merged, drop=0.5, agreement=convention)
    assert len(annotations) == len(objects)
    kept = 0
    for entry, rle, annotation in zip(objects, rles, annotations, strict=True):
        assert annotation["id"] == entry["annotation_id"]
        assert annotation["bbox"] == entry["bbox"]
        assert annotation["certainty"] == entry["certainty"]
        value = agreements([rle], np.array([entry["bbox"]]), convention)[0]
        assert annotation["agreement"] == pytest.approx(value, abs=1e-6)
        if value > 0.5:
            kept += 1
            assert "ignore_mask" not in annotation
            assert (masks.decode(annotation["segmentation"]) == masks.decode(rle)).all()
            assert annotation["area"] == masks.area(rle)
        else:
            assert annotation["ignore_mask"] == 1
            assert "segmentation" not in annotation
            assert annotation["area"] == entry["bbox"][2] * entry["bbox"][3]
    assert (stats.objects, stats.kept) == (len(objects), kept)
    assert stats.drop_rate == pytest.approx(1 - kept / len(objects))


def test_at_0_nothing_is_dropped_not_even_empty_masks(image_of):
    image = image_of(0)  # its first mask is empty
    for drop in (0.0, None):
        annotations, stats = annotated(image, merge=False, drop=drop)
        assert all("segmentation" in annotation for annotation in annotations)
        assert stats.drop_rate == 0
        assert stats.empty == sum(masks.area(entry["rle"]) == 0 for entry in image["objects"]) > 0


def test_an_image_whose_masks_are_all_dropped_and_one_without_objects(image_of, tmp_path):
    image = image_of(2)
    annotations, stats = annotated(image, drop=1.0)
    assert stats.kept == 0
    assert stats.drop_rate == 1
    assert all(a["ignore_mask"] == 1 and "segmentation" not in a for a in annotations)
    none, stats = annotated({**image, "objects": []})
    assert none == []
    assert stats.drop_rate is None


def test_crowd_regions_take_no_part(image_of):
    image = image_of(4)
    crowd = {"annotation_id": 9, "category_id": 1, "bbox": [0.0, 0.0, 1.0, 1.0], "iscrowd": 1}
    without, stats = annotated(image, drop=0.3)
    with_it, same = annotated({**image, "objects": [crowd, *image["objects"]]}, drop=0.3)
    assert with_it[1:] == without
    assert with_it[0]["iscrowd"] == with_it[0]["ignore_mask"] == 1
    assert same == stats


def test_a_random_order_depends_on_seed_and_image_alone(image_of):
    image = image_of(3, size=(40, 40), objects=8)
    first, again, *others = (
        annotated(image, order="random", drop=None, seed=seed)[0] for seed in (0, 0, 1, 2, 3)
    )
    assert first == again
    assert any(other != first for other in others)


def test_the_file_is_cocos_and_written_at_the_end(image_of, tmp_path, capsys):
    path = tmp_path / "deep" / "proxies.json"
    images = [image_of(seed) for seed in (5, 1, 3)]
    images.insert(1, {**images[0], "image_id": 4, "file_name": "4.jpg", "objects": []})

    def watched():
        for image in images:
            assert not path.exists()
            yield image

    rules = ProxySpec(parent="p", drop=0.4)
    stats = write_annotations(watched(), CATEGORIES, path, rules, info={"made_by": "x"})
    content = json.loads(path.read_text())
    assert [image["id"] for image in content["images"]] == [5, 4, 1, 3]
    assert content["images"][1] == {"id": 4, "file_name": "4.jpg", "height": 13, "width": 17}
    assert content["categories"] == CATEGORIES
    assert content["info"]["stats"] == stats
    assert content["info"]["rules"]["drop"] == 0.4
    assert content["info"]["made_by"] == "x"
    assert (stats["images"], stats["objects"]) == (4, 18)
    assert 0 < stats["drop_rate"] < 1
    assert [p.name for p in path.parent.iterdir()] == ["proxies.json"]
    expected = [a for image in images for a in annotated(image, drop=0.4)[0]]
    assert content["annotations"] == expected
    assert len(COCO(str(path)).getAnnIds()) == 18
    kept, same = proxy_masks(images, rules)
    assert same == stats
    assert kept == {a["id"]: a["segmentation"] for a in expected if "segmentation" in a}


def test_a_failure_leaves_the_old_file(image_of, tmp_path):
    path = tmp_path / "proxies.json"
    write_annotations([image_of(1)], CATEGORIES, path, ProxySpec(parent="p"))
    before = path.read_bytes()

    def broken():
        yield image_of(2)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_annotations(broken(), CATEGORIES, path, ProxySpec(parent="p"))
    assert path.read_bytes() == before


def test_no_image_at_all_is_still_a_coco_file(tmp_path):
    stats = write_annotations([], CATEGORIES, tmp_path / "p.json", ProxySpec(parent="p"))
    assert json.loads((tmp_path / "p.json").read_text())["annotations"] == []
    assert stats["drop_rate"] is None


def test_memory_does_not_grow_with_the_number_of_images(image_of, tmp_path):
    image = image_of(1)

    def peak(count):
        tracemalloc.start()
        write_annotations(
            (image for _ in range(count)), CATEGORIES, tmp_path / "p.json", ProxySpec(parent="p")
        )
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(200)
    assert peak(2000) < 1.2 * peak(400)
