"""Layouts of other tools are recognised, and the advice names the converter."""

from __future__ import annotations

import pytest

from wsis.data.check.root import check_root

LAYOUTS = {
    "yolo": ("data.yaml", "names: [a]", "from_yolo"),
    "cvat": ("annotations.xml", "<annotations/>", "COCO 1.0"),
    "labelme": ("images/1.json", '{"shapes": [], "imagePath": "1.jpg"}', "from_labelme"),
    "voc boxes": ("Annotations/1.xml", "<annotation/>", "from_pascal_voc"),
    "coco export": ("train/_annotations.coco.json", "{}", "instances_<split>.json"),
    "unknown": ("annotations/train.json", "{}", "instances_<split>.json"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_layouts_are_recognised(tmp_path, layout):
    name, text, advice = LAYOUTS[layout]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    report = check_root(tmp_path)
    (problem,) = report.problems
    assert report.layout == layout and advice in problem.advice
