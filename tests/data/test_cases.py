"""The inputs that people have (shared/cases, where they are at hand) give what their `expected.txt` says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from wsis.cli import app
from wsis.data.ground_truth import eval_annotations
from wsis.data.loading import eval_samples, train_batches
from wsis.data.roots import open_root
from wsis.data.transforms import read_image
from wsis.errors import WsisError
from wsis.evaluation.guard import GuardError, read_truth

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"


@pytest.fixture
def case(tmp_path):
    """case(name): the root that a case draws, in a folder of the test's."""

    def draw(name: str) -> Path:
        script = CASES / name / "make.py"
        if not script.exists():
            pytest.skip(f"the cases are not at hand: {script}")
        command = [sys.executable, "-B", str(script), str(tmp_path / name)]
        subprocess.run(command, check=True, capture_output=True)
        return tmp_path / name

    return draw


def check(root, *options):
    """(exit code, output) of `wsis data check`."""
    result = CliRunner().invoke(app, ["data", "check", str(root), *options])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def batches(root, recipe, supervision):
    """The first batch of 12 objects or fewer of a training on the root."""
    settings = {"short_side": (96,), "eval_short_side": 96, "augment": "none", "supervision": supervision}
    opened = open_root(recipe("coco", batch=6, **settings), root)
    return opened, next(train_batches(opened.recipe, opened))[0]


def test_boxonly_train(case, recipe):
    root = case("boxonly_train")
    code, output = check(root)
    assert code == 0 and "rows that learn masks can't run" in output
    _, batch = batches(root, recipe, "boxes")
    assert sum(len(target.boxes) for target in batch.targets) == 12
    with pytest.raises(WsisError, match="no mask to learn from"):
        batches(root, recipe, "masks")
    assert check(root, "--supervision", "masks")[0] == 1


def test_boxonly_val(case, recipe):
    root = case("boxonly_val")
    code, output = check(root)
    assert code == 1 and "mask AP needs masks" in output and "instances_val2017.json" in output
    assert check(root, "--predict-only")[0] == 0
    opened, _ = batches(root, recipe, "boxes")
    assert len(list(eval_samples(opened.recipe, opened))) == 3


def test_categories_disagree(case, recipe):
    root = case("categories_disagree")
    code, output = check(root)
    assert code == 1 and "'leaf'" in output and "'fruit'" in output
    with pytest.raises(WsisError, match=r"instances_val2017.*'fruit'.*'leaf'.*instances_train2017"):
        open_root(recipe("coco"), root)


def test_val_fewer_categories(case, recipe, tmp_path):
    root = case("val_fewer_categories")
    code, output = check(root)
    assert code == 0 and "9 ('fruit')" in output
    opened, batch = batches(root, recipe, "boxes")
    assert opened.category_ids == (1, 4, 9)
    assert {int(label) for target in batch.targets for label in target.labels} == {0, 1, 2}
    truth = read_truth(eval_annotations(opened, tmp_path / "truth"))
    assert list(truth.categories) == [1, 4, 9]


def test_val_mended(case, recipe):
    root = case("val_mended")
    code, output = check(root)
    assert code == 1 and "ids must start at 1" in output
    opened = open_root(recipe("coco"), root)
    before = opened.fingerprint, opened.classes, opened.eval_fingerprint
    file = eval_annotations(opened, root)
    with pytest.raises(GuardError, match="ids must start at 1"):
        read_truth(file)
    text = file.read_text()
    file.write_text(text.replace('"id": 0,', '"id": 77,'))
    assert check(root)[0] == 0 and read_truth(file)
    mended = open_root(recipe("coco"), root)
    assert (mended.fingerprint, mended.classes) == before[:2] and mended.eval_fingerprint != before[2]


def test_string_ids(case, recipe):
    root = case("string_ids")
    code, output = check(root)
    assert code == 1 and "ids must be whole numbers" in output
    with pytest.raises(WsisError, match="whole numbers"):
        batches(root, recipe, "boxes")


def test_partial_masks(case, recipe):
    root = case("partial_masks")
    code, output = check(root)
    assert code == 1 and "instances_train2017.json (id 1012)" in output
    assert check(root, "--supervision", "boxes")[0] == 0
    batches(root, recipe, "boxes")
    with pytest.raises(WsisError, match=r"\.jpg: the mask of annotation 10\d2: a polygon needs"):
        batches(root, recipe, "masks")
    file = root / "annotations" / "instances_train2017.json"
    text = file.read_text()
    for points in ("[[5.0, 5.0, 40.0, 40.0]]", "[[5.0, 5.0]]"):
        text = text.replace(points, "[]")
    file.write_text(text)
    assert check(root)[0] == 0
    _, batch = batches(root, recipe, "masks")
    has_mask = [bool(one) for target in batch.targets for one in target.has_mask]
    assert has_mask.count(True) == 6 == has_mask.count(False)


def test_sixteen_bit(case):
    root = case("sixteen_bit")
    code, output = check(root)
    assert code == 0 and "16 bits a pixel" in output
    image = read_image(root / "train2017" / "000100.png", 96, 120)
    assert image.std() > 20 and image.max() < 255, "values of 1500 to 37000 of 65535"


def test_exif(case):
    root = case("exif")
    code, output = check(root)
    assert code == 1 and "EXIF orientation 6" in output and "000105.jpg" in output
    assert "correct the annotation" not in output and "leaves the image" not in output
    with pytest.raises(WsisError, match="stored turned"):
        read_image(root / "train2017" / "000100.jpg", 120, 96)
