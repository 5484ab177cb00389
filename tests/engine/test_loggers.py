"""Loggers: what log.jsonl says, once, also after a resume; metrics and masks; one line where one lacks."""

import csv

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tests.engine.toy import train_toy
from wsis.cli import app
from wsis.configuration import known
from wsis.data.roots import open_root
from wsis.engine import loggers
from wsis.engine.log import StepLog
from wsis.engine.loggers import Logger, check_logger, log_evaluation
from wsis.errors import WsisError
from wsis.files import write_json
from wsis.methods import build_method


def rows(folder):
    with (folder / "csv" / "metrics.csv").open() as file:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]


def written(log, first, last):
    for iteration in range(first, last):
        losses = {"fit": iteration / 2, "other": 1.0}
        log.add({"iteration": iteration, "lr": 0.1, "total": 1 + iteration / 2, "losses": losses})


def test_a_table_repeats_the_log(tmp_path):
    log = StepLog(tmp_path / "log.jsonl", logger="csv")
    written(log, 0, 25)
    log.add({"iteration": 24, "validation": {"AP": 12.5, "APL": None}})
    log.close()
    *steps, validation = rows(tmp_path)
    assert [int(row["step"]) for row in steps] == [1, 10, 20]
    for row in steps:
        iteration = int(row["step"]) - 1
        values = {name: float(row[name]) for name in ("loss/fit", "loss/other", "loss/total", "lr")}
        assert values == {
            "loss/fit": iteration / 2,
            "loss/other": 1,
            "loss/total": 1 + iteration / 2,
            "lr": 0.1,
        }
    assert validation == {"step": "25", "validation/AP": "12.5"}


@pytest.mark.parametrize("kind", ["csv", "tensorboard"])
def test_a_resumed_training_shows_every_step_once(tmp_path, kind):
    steps = shown(tmp_path, kind)
    log = StepLog(tmp_path / "log.jsonl", logger=kind)
    written(log, 0, 20)
    offset = log.sync()
    written(log, 20, 35)
    log.close()
    assert steps("loss/fit") == [1, 10, 20, 30]
    log = StepLog(tmp_path / "log.jsonl", offset, kind)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 20
    written(log, 20, 40)
    log.close()
    assert steps("loss/fit") == [1, 10, 20, 30, 40]
    write_json(tmp_path / "train.json", {"recipe": "toy", "iterations": 40})
    voc = {"protocol": "voc", "metrics": {"AP50": 40.0}}
    log_evaluation(tmp_path, {"protocol": "coco", "metrics": {"AP": 20.0, "APL": None}, "also": {"voc": voc}})
    assert steps("loss/fit") == [1, 10, 20, 30, 40]
    assert steps("coco/AP") == steps("voc/AP50") == [40] and steps("coco/APL") == []


@pytest.mark.parametrize("kind", ["csv", "tensorboard"])
def test_a_resumed_training_keeps_the_pictures_of_what_it_keeps(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(loggers, "sample_masks", lambda *_: [("a", Image.new("RGB", (4, 4)))])
    steps = pictured(tmp_path, kind)
    log = StepLog(tmp_path / "log.jsonl", logger=kind)
    written(log, 0, 20)
    log.logger.pictures(None, None, None, 20)
    offset = log.sync()
    assert steps() == [20]  # what is synchronised outlives the process
    written(log, 20, 30)
    log.logger.pictures(None, None, None, 30)
    log.close()
    assert steps() == [20, 30]
    log = StepLog(tmp_path / "log.jsonl", offset, kind)
    log.sync()
    assert steps() == [20]
    written(log, 20, 30)
    log.logger.pictures(None, None, None, 30)
    log.close()
    assert steps() == [20, 30]
    StepLog(tmp_path / "log.jsonl", logger=kind).close()  # begun anew
    assert steps() == []


def pictured(folder, kind):
    """steps(): those with a picture 'a' in the log of `folder`."""
    if kind == "csv":
        return lambda: sorted(int(path.stem[2:]) for path in folder.glob("csv/masks/a-*.png"))
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra tensorboard)")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def steps():
        events = EventAccumulator(str(folder / kind)).Reload()
        return [event.step for event in events.Images("masks/a")] if events.Tags()["images"] else []

    return steps


def shown(folder, kind):
    """steps(name): those that the log of `folder` has of a scalar."""
    if kind == "csv":
        return lambda name: [int(row["step"]) for row in rows(folder) if name in row]
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra tensorboard)")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def steps(name):
        events = EventAccumulator(str(folder / kind)).Reload()
        return [event.step for event in events.Scalars(name)] if name in events.Tags()["scalars"] else []

    return steps


def test_a_training_without_a_logger_writes_none(tmp_path):
    train_toy(tmp_path, iterations=3, milestones=(2,), warmup=0)
    assert not (tmp_path / "csv").exists() and not (tmp_path / "tensorboard").exists()


@pytest.mark.parametrize("kind", ["csv", "tensorboard"])
def test_masks_of_the_first_images(tmp_path, shapes, recipe, kind):
    asked = recipe(eval_images=6).model_copy(update={"method": "boxes"})
    root = open_root(asked, shapes)
    if kind == "tensorboard":
        pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra tensorboard)")
    logger = Logger(kind, tmp_path)
    logger.pictures(build_method(asked, 3), root, torch.device("cpu"), 40)
    logger.close()
    names = [picture.path.stem for picture in root.eval[: loggers.PICTURES]]
    if kind == "csv":
        files = {path.name for path in (tmp_path / "csv" / "masks").iterdir()}
        assert files == {f"{name}-40.png" for name in names}
        return
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / kind)).Reload()
    assert events.Tags()["images"] == [f"masks/{name}" for name in names]
    (image,) = events.Images(f"masks/{names[0]}")
    assert image.step == 40 and min(image.width, image.height) >= 512


def test_what_cannot_log_is_one_line(monkeypatch):
    check_logger(None)
    with pytest.raises(WsisError, match=r"no logger 'nonsense' \(there are: csv, tensorboard\)"):
        CliRunner().invoke(app, ["train", "boxinst/3", "--logger", "nonsense"], catch_exceptions=False)
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(WsisError, match="pip install tensorboard"):
        check_logger("tensorboard")
    check_logger("csv")
    with pytest.raises(WsisError, match="logger=wandb: expected csv or tensorboard"):
        known({"logger": "wandb"})
