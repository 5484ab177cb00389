"""`wsis data check ROOT`: say what is wrong with a data root, without a traceback."""

from __future__ import annotations

from pathlib import Path

from wsis.data.check.coco import check_coco
from wsis.data.check.images import Images
from wsis.data.check.layouts import other_layout
from wsis.data.check.report import CheckReport, Uses
from wsis.data.check.salient import check_salient
from wsis.data.check.voc import check_voc


def check_root(path: Path, decode: bool | None = None, uses: Uses = Uses()) -> CheckReport:
    """Check a COCO, VOC or saliency root (a `shapes` root is COCO's layout and may hold a saliency root).

    decode: decode every image in full; None: only where a split has at most DECODE_UP_TO images, else look at
    headers and file endings. Never raises on what it finds; a missing root is a problem too.
    """
    path = Path(path)
    report = CheckReport(path, "unknown")
    if not path.is_dir():
        report.problem("root", path, "no such folder", "give the root folder of a data set")
        return report
    images = Images(report, decode)
    if any((path / "annotations").glob("instances_*.json")):
        report.layout = "coco"
        check_coco(path, report, images, uses)
        if (path / "salient").is_dir():
            check_salient(path / "salient", report, images)
    elif (path / "ImageSets" / "Segmentation").is_dir():
        report.layout = "voc"
        check_voc(path, report, images, uses)
    elif any((path / name).exists() for name in ("masks", "DUTS-TR-Mask", "train.txt")):
        report.layout = "salient"
        check_salient(path, report, images)
    else:
        report.layout, text, advice = other_layout(path)
        report.problem("root", path, text, advice)
    return report
