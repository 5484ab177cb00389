"""`wsis predict`: files that other programs read, given boxes, a root's own ids."""

import json
import shutil

import pytest
from pycocotools.coco import COCO

from tests.trained.runs import run_cli
from wsis.data.roots import open_root
from wsis.declare.stored import stored_recipe
from wsis.errors import WsisError
from wsis.files import read_json, write_json
from wsis.trained.model import Model


def test_exported_predictions_are_read_by_others(trained, model, tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "out"
    (folder / "more").mkdir(parents=True)
    for number, path in enumerate(trained.images[:3]):
        shutil.copy(path, folder / ("more" if number else ".") / f"{number}.png")
    (folder / "notes.txt").write_text("no image")
    (folder / "._0.png").write_text("what a Mac leaves behind")
    words = run_cli("predict", trained.detector, folder, "--out", out, "--score", 0, "--draw")
    assert "in 3 images" in words
    dataset = COCO(out / "instances.json")
    names = [image["file_name"] for image in dataset.loadImgs(dataset.getImgIds())]
    assert sorted(names) == ["0.png", "more/1.png", "more/2.png"]
    results = json.loads((out / "predictions.json").read_text())
    assert len(results) == 15
    assert {entry["file_name"] for entry in results} == {*names}
    assert all(model.categories[entry["category_id"]] == entry["category_name"] for entry in results)
    loaded = dataset.loadRes(str(out / "predictions.json"))
    for entry in loaded.loadAnns(loaded.getAnnIds()):
        x, y, w, h = entry["bbox"]
        rows, columns = loaded.annToMask(entry).nonzero()
        inside = not len(rows) or (x - 1 <= columns.min() and columns.max() <= x + w + 1)
        assert inside and (not len(rows) or (y - 1 <= rows.min() and rows.max() <= y + h + 1))
    drawn = {path.relative_to(out / "drawn").as_posix() for path in (out / "drawn").rglob("*.jpg")}
    assert drawn == {f"{name}.jpg" for name in names}
    few = run_cli("predict", trained.detector, folder, "--out", out, "--score", 1)
    assert few.startswith("0 instances in 3 images") and read_json(out / "predictions.json") == []


def test_supervision_reads_an_export(trained, tmp_path):
    sv = pytest.importorskip("supervision")
    run_cli("predict", trained.detector, trained.data / "val", "--out", tmp_path, "--score", 0)
    dataset = sv.DetectionDataset.from_coco(
        str(trained.data / "val"), str(tmp_path / "instances.json"), force_masks=True
    )
    detections = [each for _, _, each in dataset]
    assert len(detections) == len(trained.images)
    assert sum(map(len, detections)) == len(read_json(tmp_path / "instances.json")["annotations"]) > 0
    assert all(each.mask.any((1, 2)).all() for each in detections if len(each))


def test_fiftyone_imports_an_export(trained, tmp_path):
    coco = pytest.importorskip("fiftyone.utils.coco", reason="FiftyOne is not installed")
    run_cli("predict", trained.detector, trained.data / "val", "--out", tmp_path, "--score", 0)
    files = {"data_path": str(trained.data / "val"), "labels_path": str(tmp_path / "instances.json")}
    with coco.COCODetectionDatasetImporter(**files, label_types=["segmentations"]) as importer:
        labels = [label["segmentations"] if isinstance(label, dict) else label for _, _, label in importer]
    found = sum(len(label.detections) for label in labels if label is not None)
    assert found == len(read_json(tmp_path / "instances.json")["annotations"]) > 0


def test_given_boxes_come_from_a_coco_file(trained, tmp_path):
    annotations = trained.data / "annotations" / "instances_val.json"
    words = ("predict", trained.filler, trained.data / "val", "--out", tmp_path)
    with pytest.raises(WsisError, match="give them with --annotations FILE"):
        run_cli(*words)
    with pytest.raises(WsisError, match="give them with --annotations FILE"):
        run_cli("predict", trained.detector, trained.data / "val", "--given-boxes")
    run_cli(*words, "--annotations", annotations)
    objects = [each["id"] for each in read_json(annotations)["annotations"] if not each["iscrowd"]]
    results = read_json(tmp_path / "predictions.json")
    assert sorted(entry["annotation_id"] for entry in results) == sorted(objects)
    files = ("--predictions", tmp_path / "predictions.json", "--annotations", annotations)
    text = run_cli("evaluate", *files, "--protocol", "class-agnostic")
    assert text.startswith("class-agnostic: mIoU ") and "IoU75" in text
    with pytest.raises(WsisError, match="belong together"):
        run_cli("evaluate", *files[:2])
    for words in (files, (trained.detector,)):
        with pytest.raises(WsisError, match="--since is for runs of a results folder"):
            run_cli("evaluate", *words, "--since", annotations)


@pytest.mark.parametrize("polygons", [False, True])
def test_a_file_of_boxes_gets_its_masks(trained, tmp_path, polygons):
    """All else stays: ids, classes that the model doesn't know, other images, crowd regions."""
    content = read_json(trained.data / "annotations" / "instances_val.json")
    content["categories"][0]["name"] = "heron"
    for entry in content["annotations"]:
        entry.pop("segmentation")
        entry["note"] = "mine"
    content["annotations"][0]["iscrowd"] = 1
    write_json(tmp_path / "boxes.json", content)
    images, more = trained.images[:3], ["--polygons"] if polygons else []
    run_cli(
        *("predict", trained.detector, *images, "--annotations", tmp_path / "boxes.json", "--given-boxes"),
        *("--out", tmp_path / "out", "--score", 0.99, *more),
    )
    filled = read_json(tmp_path / "out" / "instances.json")
    assert filled["categories"] == content["categories"] and filled["images"] == content["images"]
    dataset, masks = COCO(tmp_path / "out" / "instances.json"), 0
    shown = {image["id"] for image in content["images"] if image["file_name"] in {p.name for p in images}}
    for before, after in zip(content["annotations"], filled["annotations"], strict=True):
        kept = {key: value for key, value in after.items() if key not in ("segmentation", "area")}
        assert kept == {key: value for key, value in before.items() if key != "area"}
        if "segmentation" in after:
            masks += 1
            assert before["image_id"] in shown and not before["iscrowd"]
            x, y, w, h = before["bbox"]
            mask = dataset.annToMask(after)
            rows, columns = mask.nonzero()
            off = abs(int(mask.sum()) - after["area"])
            assert off <= after["area"] / 4 + 2 if polygons else off == 0
            assert not len(rows) or x - 1 <= columns.min() <= columns.max() <= x + w
            assert not len(rows) or y - 1 <= rows.min() <= rows.max() <= y + h
    assert masks
    content["images"][0]["width"] += 1
    write_json(tmp_path / "boxes.json", content)
    with pytest.raises(WsisError, match=r"is 65 x 64 in the file, but 64 x 64 as it is shown"):
        run_cli(
            *(
                "predict",
                trained.detector,
                *images,
                "--annotations",
                tmp_path / "boxes.json",
                "--given-boxes",
            ),
            *("--out", tmp_path / "out"),
        )


def test_a_split_is_predicted_under_its_own_ids(trained, tmp_path):
    root, out = shutil.copytree(trained.data, tmp_path / "root"), tmp_path / "out"
    file = root / "annotations" / "instances_val.json"
    content = read_json(file)
    for each in content["images"]:
        each["id"] += 100
    for each in content["annotations"]:
        each["image_id"] += 100
    content["images"].reverse()
    write_json(file, content)
    run_cli("predict", trained.detector, "--data", root, "--out", out)
    keys = ("image_id", "category_id", "score", "segmentation")
    found = [{key: each[key] for key in keys} for each in read_json(out / "predictions.json")]
    stored = read_json(trained.detector / "predictions.json")
    assert found == [each | {"image_id": each["image_id"] + 100} for each in stored]
    told = run_cli("evaluate", "--predictions", out / "predictions.json", "--annotations", file)
    assert f"AP {read_json(trained.detector / 'metrics.json')['metrics']['AP']:.2f}," in told
    run_cli("predict", trained.filler, "--data", root, "--split", "train", "--out", out)
    train = read_json(root / "annotations" / "instances_train.json")["annotations"]
    filled = read_json(out / "instances.json")["annotations"]
    assert [each["id"] for each in filled] == [each["id"] for each in train]
    wrong = [["--data", root, "--annotations", file], [root, "--data", root], [root, "--split", "val"], []]
    for more in wrong:
        with pytest.raises(WsisError, match="--data ROOT"):
            run_cli("predict", trained.detector, *more)


def test_a_run_is_found_by_its_id(trained):
    id = trained.runs / read_json(trained.detector / "train.json")["recipe"]
    results = trained.runs.parents[1]
    text = run_cli("predict", id.name, trained.images[0], "--results", results, "--out", results / "out")
    assert "in 1 images" in text
    with pytest.raises(WsisError, match="no run boxinst-nonsense"):
        run_cli("predict", "boxinst-nonsense", trained.images[0], "--results", results)
    assert isinstance(Model(id), Model) and open_root(stored_recipe(id), trained.data).num_classes == 3
