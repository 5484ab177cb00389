"""What training and evaluation need of annotations, and what a root may lack."""

from __future__ import annotations

import pytest

from tests.data.check.changes import first, kinds, strip
from wsis.data.check.report import Uses
from wsis.data.check.root import check_root
from wsis.evaluation.guard import GuardError, read_truth

EVALUATION = {
    "id 0": (first(id=0), "pycocotools"),
    "area negative": (first(area=-1), "'area' must be"),
    "area text": (first(area="80"), "'area' must be"),
    "no area": (lambda c: c["annotations"][0].pop("area"), "'area' must be"),
    "no iscrowd": (lambda c: c["annotations"][0].pop("iscrowd"), "'iscrowd' must be"),
    "iscrowd true": (first(iscrowd=True), "'iscrowd' must be"),
    "no mask": (lambda c: c["annotations"][0].pop("segmentation"), "no mask"),
    "mask of a box": (first(segmentation=[[4, 5, 14, 13]]), "three points"),
    "runs too long": (first(segmentation={"size": [20, 30], "counts": [10**30]}), "integers"),
    "name twice": (lambda c: c["categories"][1].update(name="person"), "given twice"),
    "size text": (lambda c: c["images"][0].update(width="30"), "'width' must be an integer"),
}


@pytest.mark.parametrize("fault", EVALUATION)
def test_what_evaluation_refuses_is_refused_by_the_check_in_its_own_words(coco_root, fault):
    change, text = EVALUATION[fault]
    root = coco_root(change, "val2017")
    found = [finding for finding in check_root(root).problems if finding.kind == "evaluation"]
    assert len(found) == 1 and text in found[0].text
    with pytest.raises(GuardError, match=text):
        read_truth(root / "annotations" / "instances_val2017.json")


UNREAD = {
    "no mask, area, iscrowd": strip("segmentation", "area", "iscrowd"),
    "empty mask": lambda c: [a.update(segmentation=[]) for a in c["annotations"]],
    "null": lambda c: [a.update(segmentation=None, area=None, iscrowd=None) for a in c["annotations"]],
    "area 0": lambda c: [a.update(segmentation={}, area=0) for a in c["annotations"]],
    "id 0": lambda c: [a.update(id=n, segmentation=[]) for n, a in enumerate(c["annotations"])],
}


@pytest.mark.parametrize("case", UNREAD)
def test_what_boxes_suffice_without_is_a_note(coco_root, case):
    root = coco_root(UNREAD[case])
    for uses in (Uses(), Uses(supervisions=frozenset({"boxes"}))):
        report = check_root(root, uses=uses)
        assert report.ok, report.lines()
        assert "rows that learn masks can't run" in str(report)
    report = check_root(root, uses=Uses(supervisions=frozenset({"boxes", "masks"})))
    assert kinds(report) == {"no mask"}


def test_an_undecodable_mask_is_a_fault_where_masks_are_read(coco_root):
    root = coco_root(first(segmentation=[[4, 5, 14, 5]]))
    for supervisions in (None, frozenset({"masks-voc"})):
        (problem,) = check_root(root, uses=Uses(supervisions=supervisions)).problems
        assert problem.id == 11 and problem.file.endswith("instances_train2017.json")
    report = check_root(root, uses=Uses(supervisions=frozenset({"boxes"})))
    assert report.ok and "1 mask(s) that can't be decoded" in str(report)


def test_ground_truth_without_masks_is_refused_unless_only_predictions_are_wanted(coco_root):
    root = coco_root(strip("segmentation"), "val2017")
    (problem,) = check_root(root).problems
    assert "mask AP needs masks" in problem.text and "val2017" in problem.file
    report = check_root(root, uses=Uses(predict_only=True))
    assert report.ok and "AP can't be measured" in str(report)


def test_what_else_the_check_says(coco_root):
    def change(content):
        content["images"].append(content["images"][0] | {"id": 5})
        content["annotations"].append(content["annotations"][0] | {"id": 98})
        content["annotations"] += [
            content["annotations"][1] | {"id": 100 + n, "bbox": [4, 5, 10, 8 - n / 50]} for n in range(101)
        ]

    report = check_root(coco_root(change, "val2017"))
    assert report.ok and {n.kind for n in report.notes} >= {"doubled image", "doubled", "many objects"}
    crowd = coco_root(lambda c: [a.update(iscrowd=1) for a in c["annotations"]])
    assert "crowd" in kinds(check_root(crowd))
    assert "no object" in kinds(check_root(coco_root(lambda c: c["annotations"].clear())))
