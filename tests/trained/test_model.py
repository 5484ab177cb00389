"""A run's folder as a model: loading, images of every kind, files that other programs read, evaluation."""

import hashlib
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO
from typer.testing import CliRunner

import wsis
from wsis.card import write_card
from wsis.cli import app
from wsis.data.pixels import ORIENTATION
from wsis.data.places import shapes_root
from wsis.data.roots import open_root
from wsis.declare.stored import stored_recipe
from wsis.engine.checkpoint import save_model
from wsis.engine.job import RunOptions
from wsis.engine.run import train_runs
from wsis.engine.train import TrainOptions
from wsis.errors import WsisError
from wsis.files import read_json, write_json
from wsis.flow.jobs import evaluate_runs, make_data
from wsis.methods.weights import load_model, trained_method
from wsis.plan import make_plan
from wsis.trained.evaluate import evaluate_folder
from wsis.trained.model import Model

ROWS = {"detector": ("boxinst/3", "box mask"), "filler": ("boxcaseg/7", "PASCAL, boxes as masks")}
SET = {"predict.score": 0.0, "predict.detections": 5}  # or nothing is detected after a few steps


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs of the smoke scale, trained and evaluated as the workflow does it.

    Their folders were copied elsewhere, and results/ was renamed since.
    """
    base = tmp_path_factory.mktemp("model")
    plan, results = make_plan("smoke", overrides=SET), base / "results"
    ids = {name: next(iter(plan.row_runs(*row).values())) for name, row in ROWS.items()}
    needed = plan.with_needed(ids.values())
    for root in {shapes_root(plan.runs[id].recipe) for id in needed}:
        make_data(plan, results, root)
    options = RunOptions("cpu", threads=1, train=TrainOptions(progress=False))
    train_runs(plan, needed, results, None, options)
    evaluate_runs(plan, ids.values(), results, None)
    copies = {name: base / "copies" / name for name in ids}
    for name, id in ids.items():
        shutil.copytree(results / "smoke" / "runs" / id, copies[name])
    data = results / "smoke" / "data" / shapes_root(plan.runs[ids["detector"]].recipe)
    results.rename(base / "renamed")
    data = base / "renamed" / data.relative_to(results)
    images = sorted((data / "val").glob("*.png"))
    return SimpleNamespace(**copies, data=data, images=images, runs=base / "renamed" / "smoke" / "runs")


@pytest.fixture(scope="module")
def model(trained):
    return wsis.load(trained.detector, "cpu")


def same(one, other):
    return np.array_equal(one.boxes, other.boxes) and np.array_equal(one.masks, other.masks)


def test_a_copied_folder_predicts_what_its_run_predicted(trained, model):
    stored = read_json(trained.detector / "predictions.json")
    entries = []
    for id, instances in enumerate(model.predict(trained.images), 1):
        entries += instances.coco(id)
    keys = ("image_id", "category_id", "score", "segmentation")
    assert [{key: entry[key] for key in keys} for entry in entries] == stored


def test_instances_are_numpy_in_the_frame_of_the_image(trained, model):
    found = model.predict(str(trained.images[0]))
    height, width = np.asarray(Image.open(trained.images[0])).shape[:2]
    count = len(found)
    assert count == 5 and found.size == (height, width)
    assert found.boxes.shape == (count, 4) and found.boxes.dtype == np.float32
    assert (found.boxes[:, 2:] >= found.boxes[:, :2]).all()
    assert found.masks.shape == (count, height, width) and found.masks.dtype == bool
    assert found.scores.shape == (count,) and (np.diff(found.scores) <= 0).all()
    assert [model.names[label] for label in found.labels] == list(found.names)
    assert [model.categories[id] for id in found.category_ids.tolist()] == list(found.names)
    middle = float(np.sort(found.scores)[2])
    assert len(found.above(middle)) == (found.scores >= middle).sum() == len(found.above(middle).masks)
    assert found.above(2.0).masks.shape == (0, height, width) and found.above(2.0).coco(1) == []


def test_paths_arrays_and_pictures_are_one_image(trained, model, tmp_path):
    path = trained.images[0]
    picture = Image.open(path).convert("RGB")
    expected = model.predict(path)
    assert same(model.predict(picture), expected) and same(model.predict(np.array(picture)), expected)
    grey = picture.convert("L")
    assert same(model.predict(grey), model.predict(np.array(grey)))
    turned = picture.transpose(Image.Transpose.ROTATE_90)  # stored lying on its side
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    assert same(model.predict(tmp_path / "turned.png"), expected)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("absent.jpg", r"absent\.jpg: no such image"),
        (np.zeros((4, 4, 3)), "expected h x w x 3 uint8"),
        (np.zeros((4, 4, 4), np.uint8), "expected h x w x 3 uint8"),
        (Image.new("F", (4, 4)), "32 bits or floats a pixel"),
        ([torch.zeros(3, 4, 4)], "Tensor: expected a path"),
    ],
)
def test_what_is_no_image_is_refused(model, image, message):
    with pytest.raises(WsisError, match=message):
        model.predict(image)


def test_a_method_that_fills_boxes_takes_them_and_the_other_takes_none(trained, model):
    filler, image = wsis.load(trained.filler, "cpu"), trained.images[0]
    assert filler.fills_boxes and not model.fills_boxes
    boxes = [[5, 5, 40, 50], [20, 10, 60, 60]]
    plain = filler.predict(image, boxes)
    assert len(plain) == 2 and set(plain.names) == {filler.names[0]}
    assert not plain.masks[0][:, 41:].any() and not plain.masks[0][51:].any()
    assert filler.predict(image, boxes, [filler.names[1], 2]).names == filler.names[1:3]
    one, none = filler.predict([image, image], [boxes, []])
    assert same(one, plain) and len(none) == 0
    for arguments, message in [
        ((image,), "give it boxes"),
        (([image, image], [boxes]), "a list for each image"),
        ((image, boxes, ["heron", 0]), "no class 'heron'"),
        ((image, boxes, [0]), "1 labels for 2 boxes"),
        ((image, [[1, 2, 3]]), "n x 4"),
    ]:
        with pytest.raises(WsisError, match=message):
            filler.predict(*arguments)
    with pytest.raises(WsisError, match="finds the objects itself; masks of given boxes: masks_of"):
        model.predict(image, boxes)


@pytest.mark.parametrize("name", ["detector", "filler"])
def test_every_model_gives_masks_to_boxes(trained, name):
    model, image = wsis.load(getattr(trained, name), "cpu"), trained.images[0]
    boxes = [[5, 5, 40, 50], [20, 10, 60, 60]]
    plain = model.masks_of(image, boxes)
    assert plain.boxes.tolist() == boxes and plain.size == (64, 64)
    assert not plain.masks[0][:, 40:].any() and not plain.masks[0][50:].any()
    named = model.masks_of([image, image], [boxes, []], [[model.names[1], None], []])
    assert same(named[0], plain) and named[0].names == (model.names[1], plain.names[1])
    assert len(named[1]) == 0 and named[1].masks.shape == (0, 64, 64)
    if model.fills_boxes:
        assert same(model.predict(image, boxes), plain)


def test_what_is_no_runs_folder_is_refused(trained, tmp_path):
    with pytest.raises(WsisError, match=r"no recipe\.json"):
        wsis.load(tmp_path)
    old = shutil.copytree(trained.detector, tmp_path / "old")
    (old / "model.json").unlink()
    with pytest.raises(WsisError, match=r"no model\.json: a run of a former version"):
        wsis.load(old)
    for name, content, message in [
        ("model.json", {"categories": [3]}, "run: Field required"),
        ("recipe.json", [], "Input should be a valid dictionary"),
        ("recipe.json", {"recipe": None}, "recipe: Input should be a valid dictionary"),
        ("recipe.json", {"recipe": {"method": 3}}, "method: Input should be a valid string"),
    ]:
        run = shutil.copytree(trained.detector, tmp_path / "run", dirs_exist_ok=True)
        write_json(run / name, content)
        with pytest.raises(WsisError, match=rf"run/{name}: .*{message}"):
            wsis.load(run)
    with pytest.raises(WsisError, match="device nonsense"):
        wsis.load(trained.detector, "nonsense")


def test_a_backbones_first_weights_and_the_strides_they_moved_are_in_the_folder(trained, model, tmp_path):
    """The file that the training began with may be gone; detectron2's weights move a network's strides."""
    run = shutil.copytree(trained.detector, tmp_path / "run")
    content = read_json(run / "recipe.json")
    content["recipe"]["model"]["weights"] = str(tmp_path / "gone.pkl")
    write_json(run / "recipe.json", content)
    recipe = stored_recipe(run)
    moved, _ = trained_method(trained.detector, stored_recipe(trained.detector), 3)
    convolutions = {name: each for name, each in moved.named_modules() if isinstance(each, torch.nn.Conv2d)}
    strided = next(name for name, each in convolutions.items() if each.stride == (2, 2))
    plain = next(name for name, each in convolutions.items() if each.stride == (1, 1))
    convolutions[strided].stride, convolutions[plain].stride = (1, 1), (2, 2)
    save_model(run, recipe.id, 0, moved)
    method, _ = trained_method(run, recipe, 3)
    assert method.recipe == recipe.settled()
    assert {name: method.get_submodule(name).stride for name in convolutions} == {
        name: each.stride for name, each in convolutions.items()
    }


def test_the_card_is_what_a_hub_reads(trained):
    text = (trained.detector / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "apache-2.0" and front["pipeline_tag"] == "image-segmentation"
    (index,) = front["model-index"]
    values = {each["type"]: each["value"] for each in index["results"][0]["metrics"]}
    metrics = read_json(trained.detector / "metrics.json")["metrics"]
    assert values == {name: pytest.approx(x, abs=1e-3) for name, x in metrics.items() if x is not None}
    assert "@inproceedings{tian2021boxinst" in text and "loss.pairwise.warmup" in text
    assert "boxes=" in (trained.filler / "README.md").read_text()
    before = text
    write_card(trained.detector)
    assert (trained.detector / "README.md").read_text() == before


def test_a_process_that_dies_before_it_writes_metrics_has_written_their_card(trained, tmp_path, monkeypatch):
    """Metrics that are there thus never have an older card, and those that aren't are evaluated again."""

    def dies(path, content):
        raise KeyboardInterrupt

    run = shutil.copytree(trained.detector, tmp_path / "run")
    own = trained.data.with_name(read_json(run / "train.json")["data"]["root_name"])
    whole = (run / "README.md").read_text()
    (run / "metrics.json").unlink()
    write_card(run)
    assert "Not evaluated yet." in (run / "README.md").read_text()
    monkeypatch.setattr("wsis.evaluation.run.write_record", dies)
    with pytest.raises(KeyboardInterrupt):
        evaluate_folder(run, own)
    assert not (run / "metrics.json").exists() and (run / "README.md").read_text() == whole


def test_evaluating_a_run_of_a_former_version_makes_it_a_model(trained):
    """It has a model.pt, which is read, and no model.json."""
    plan, results = make_plan("smoke", overrides=SET), trained.runs.parents[1]
    id = next(iter(plan.row_runs(*ROWS["detector"]).values()))
    folder = trained.runs / id
    about, content = read_json(folder / "model.json"), load_model(folder / "model.safetensors")
    content.pop("strides")
    torch.save(content, folder / "model.pt")
    for name in ("model.json", "README.md", "model.safetensors"):
        (folder / name).unlink()
    evaluate_runs(plan, [id], results, None)
    assert (
        about["normalisation"]
        and read_json(folder / "model.json") == about
        and (folder / "README.md").exists()
    )
    image = trained.images[0]
    assert same(wsis.load(folder, "cpu").predict(image), wsis.load(trained.detector, "cpu").predict(image))


def run_cli(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


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


def test_masks_of_the_true_boxes_are_evaluated_when_asked(trained, tmp_path):
    run = shutil.copytree(trained.detector, tmp_path / "run")
    before = read_json(run / "metrics.json")
    own = trained.data.with_name(read_json(run / "train.json")["data"]["root_name"])
    text = run_cli("evaluate", run, "--data", own, "--given-boxes")
    after = read_json(run / "metrics.json")
    given = after["also"].pop("given-boxes")
    assert (after.pop("also") or before.pop("also", {})) == {} and after == before
    assert "given-boxes: mIoU " in text and "given-boxes" in (run / "README.md").read_text()
    root = open_root(stored_recipe(run), own)
    wanted = {i.id: (p.id, i.label) for p in root.eval for i in p.instances if not i.crowd}
    masks = read_json(run / "given_boxes.json")
    assert {each["annotation_id"]: each["image_id"] for each in masks} == {
        id: image for id, (image, _) in wanted.items()
    }
    truth = COCO(own / "annotations" / "instances_val.json")
    by_class = {}
    for each in masks:
        target = truth.annToRLE(truth.anns[each["annotation_id"]])
        iou = rle.iou([each["segmentation"]], [target], [0])[0, 0]
        by_class.setdefault(each["category_id"], []).append(iou)
    expected = 100 * np.mean([np.mean(ious) for ious in by_class.values()])
    assert given["metrics"]["mIoU"] == pytest.approx(expected) and given["detections"] == len(wanted)
    filler = shutil.copytree(trained.filler, tmp_path / "filler")
    own = trained.data.with_name(read_json(filler / "train.json")["data"]["root_name"])
    run_cli("evaluate", filler, "--data", own, "--given-boxes")
    assert (filler / "metrics.json").read_bytes() == (trained.filler / "metrics.json").read_bytes()


@pytest.mark.parametrize("name", ["detector", "filler"])
def test_evaluating_a_folder_equals_the_workflow_to_the_last_digit(trained, name):
    folder = getattr(trained, name)
    expected = (folder / "metrics.json").read_bytes()
    (folder / "metrics.json").unlink()
    with pytest.raises(WsisError, match=r"isn't there; give a root: --data ROOT"):
        run_cli("evaluate", folder)
    own = read_json(folder / "train.json")["data"]["root_name"]
    text = run_cli("evaluate", folder, "--data", trained.data.with_name(own))
    assert (folder / "metrics.json").read_bytes() == expected and str(folder / "metrics.json") in text


def test_other_images_are_predicted_and_other_classes_refused(trained, tmp_path):
    root = shutil.copytree(trained.data, tmp_path / "other")
    file = root / "annotations" / "instances_val.json"
    content = read_json(file)
    content["images"] = content["images"][:2]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] in kept]
    write_json(file, content)
    before = hashlib.sha256((trained.detector / "metrics.json").read_bytes()).digest()
    run_cli("evaluate", trained.detector, "--data", root)
    (out,) = (trained.detector / "evaluations").iterdir()
    assert out.name.startswith("other-") and read_json(out / "metrics.json")["images"] == 2
    stored = read_json(trained.detector / "predictions.json")
    part = [entry for entry in stored if entry["image_id"] in kept]
    assert [entry["image_id"] for entry in read_json(out / "predictions.json")] == [
        e["image_id"] for e in part
    ]
    assert hashlib.sha256((trained.detector / "metrics.json").read_bytes()).digest() == before
    for each in (file, file.with_name("instances_train.json")):
        content = read_json(each)
        content["categories"][0]["name"] = "heron"
        write_json(each, content)
    for words in ("evaluate", "predict"):
        with pytest.raises(WsisError, match="category 1 is 'heron', but 'spiky' for the run"):
            run_cli(words, trained.detector, "--data", root)


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
