"""What the check says of sound roots, and how it sums up."""

from __future__ import annotations

import pytest

from tests.data.check.changes import first
from wsis.data.check.root import check_root


def test_a_sound_root_is_ok(coco_root):
    report = check_root(coco_root.root)
    assert report.ok and report.layout == "coco"
    assert report.counts == {"images": 8, "annotations": 8}
    assert report.lines()[-1] == "ok" and str(report).endswith("\nok")


def test_the_finding_names_the_annotation(coco_root):
    (finding,) = check_root(coco_root(first(bbox=[4, 5, 0, 8]))).problems
    assert finding.id == 11 and finding.file.endswith("instances_train2017.json")


def test_many_findings_are_summed_up(coco_root):
    def change(content):
        one = content["annotations"][0]
        content["annotations"] = [{**one, "id": 100 + i, "image_id": 99} for i in range(50)]

    lines = check_root(coco_root(change)).lines()
    assert "problem: 40 more of 'join'" in lines and lines[-1] == "50 problem(s)"


def test_shapes_pass_and_their_area_scale_is_understood(shapes):
    report = check_root(shapes)
    assert report.ok and "area" not in {n.kind for n in report.notes}


@pytest.mark.parametrize("name", ["coco", "voc", "voc_from_coco", "salient"])
def test_real_roots_pass(shared, name):
    report = check_root(shared(name))
    assert report.ok, report.lines()
    assert report.layout == name.split("_")[0] and report.counts["images"] > 0
