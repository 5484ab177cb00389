import json
import os
import signal
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from tests.engine.toy import Toy, one_mask, toy_recipe
from wsis.data.loading import MAX_IMAGES, MAX_PIXELS, groups
from wsis.data.structures import Sample
from wsis.engine.launch import launch, make_fabric
from wsis.engine.predict import predict as predict_root
from wsis.engine.predict import predict_samples
from wsis.errors import WsisError
from wsis.progress import Progress
from wsis.signals import LIMIT, Interrupted


def samples(rank=0, world=1, count=21, side=6):
    for image_id in range(1, count + 1)[rank::world]:
        yield Sample(torch.zeros(3, side, side, dtype=torch.uint8), (4, 5), image_id)


def predict(path, devices=1, method=None, count=21):
    fabric = make_fabric(toy_recipe().schedule, "cpu", range(devices))
    share = samples(fabric.global_rank, fabric.world_size, count)
    progress = Progress("toy", count, enabled=False)
    return predict_samples(method or Toy(), share, [3, 7], path, fabric, progress)


def test_predictions_are_coco_results(tmp_path):
    assert predict(tmp_path / "predictions.json") == 21
    entries = json.loads((tmp_path / "predictions.json").read_text())
    assert [entry["image_id"] for entry in entries] == list(range(1, 22))
    expected = {"size": [4, 5], "counts": "04"}
    assert entries[0] == {"image_id": 1, "category_id": 7, "score": 0.25, "segmentation": expected}


def test_no_detection_at_all_is_an_empty_list(tmp_path):
    predict(tmp_path / "predictions.json", count=0)
    assert json.loads((tmp_path / "predictions.json").read_text()) == []


def test_several_processes_write_the_same_file(tmp_path):
    predict(tmp_path / "one.json")
    launch(predict, (tmp_path / "two.json", 2), 2, "fork")
    assert (tmp_path / "two.json").read_bytes() == (tmp_path / "one.json").read_bytes()
    there = sorted(p.name for p in tmp_path.iterdir())
    assert there == [".one.json.sha256", ".two.json.sha256", "one.json", "two.json"]


def test_methods_predict_in_eval_mode_without_gradients(tmp_path):
    class Looks(Toy):
        def predict(self, samples):
            assert not self.training and not torch.is_grad_enabled()
            return super().predict(samples)

    predict(tmp_path / "predictions.json", method=Looks().train())


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_names_the_image_and_leaves_no_file(tmp_path, score):
    class Breaks(Toy):
        def predict(self, samples):
            return [one_mask(s, score if s.id == 17 else 0.5) for s in samples]

    with pytest.raises(WsisError, match="image 17"):
        predict(tmp_path / "predictions.json", method=Breaks())
    assert not (tmp_path / "predictions.json").exists()


def test_scores_are_rounded_to_six_decimals(tmp_path):
    class Third(Toy):
        def predict(self, samples):
            return [one_mask(s, 1 / 3) for s in samples]

    predict(tmp_path / "predictions.json", method=Third(), count=1)
    assert json.loads((tmp_path / "predictions.json").read_text())[0]["score"] == 0.333333


def test_groups_keep_order_and_bounds():
    sized = partial(torch.zeros, dtype=torch.uint8)
    sides = [(600, 400), (400, 900), (500, 500), *[(10, 10)] * 40, (1500, 1500)]
    given = [Sample(sized(3, *side), side, number) for number, side in enumerate(sides)]
    found = list(groups(given))
    assert [s.id for group in found for s in group] == list(range(len(sides)))
    for group in found:
        height = max(s.image.shape[1] for s in group)
        width = max(s.image.shape[2] for s in group)
        assert len(group) == 1 or len(group) * height * width <= MAX_PIXELS
        assert len(group) <= MAX_IMAGES
    assert len(found) < len(sides) / 4


class Noted(Toy):
    """Notes in a file which images it predicts; after group `stop` a signal reaches process `rank`."""

    def __init__(self, seen, stop=0, number=signal.SIGUSR1, rank=0):
        super().__init__()
        self.seen, self.stop, self.number, self.rank = seen, stop, number, rank
        self.groups = 0

    def predict(self, samples):
        self.groups += 1
        with open(self.seen, "a") as file:
            file.writelines(f"{sample.id}\n" for sample in samples)
        if self.groups == self.stop and int(os.environ.get("LOCAL_RANK", 0)) == self.rank:
            os.kill(os.getpid(), self.number)
        return [one_mask(sample, sample.id / 10) for sample in samples]


def predict_five(path, made_by=None, devices=1, **stop):
    fabric = make_fabric(toy_recipe().schedule, "cpu", range(devices))
    root = SimpleNamespace(
        eval=range(5), category_ids=[3, 7], path=path, fingerprint="t", eval_fingerprint="e"
    )
    predict_root(Noted(path.parent / "seen", **stop), root, path, fabric, False, made_by)


@pytest.fixture
def pairs(monkeypatch):
    monkeypatch.setattr("wsis.data.loading.MAX_IMAGES", 2)


def seen(folder):
    return sorted(map(int, (folder / "seen").read_text().split()))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGUSR1, LIMIT), (signal.SIGTERM, 143)])
def test_stopped_by_a_signal_it_goes_on_where_it_was(tmp_path, pairs, number, status):
    path, whole = tmp_path / "a" / "predictions.json", tmp_path / "b" / "predictions.json"
    for folder in (path.parent, whole.parent):
        folder.mkdir()
    predict_five(whole, {"weights": "w"})
    with pytest.raises(Interrupted, match="stopped after predicting 2 of 5 images") as error:
        predict_five(path, {"weights": "w"}, stop=1, number=number)
    assert error.value.status == status and not path.exists()
    predict_five(path, {"weights": "w"})
    assert path.read_bytes() == whole.read_bytes()
    assert seen(path.parent) == [1, 2, 3, 4, 5]
    assert {each.name for each in path.parent.iterdir()} == {path.name, f".{path.name}.sha256", "seen"}


@pytest.mark.parametrize("other", [{"weights": "v"}, None])
def test_what_other_weights_predicted_is_done_again(tmp_path, pairs, other):
    path = tmp_path / "predictions.json"
    with pytest.raises(Interrupted):
        predict_five(path, {"weights": "w"}, stop=2)
    predict_five(path, other)
    assert seen(tmp_path) == [1, 1, 2, 2, 3, 3, 4, 4, 5]


@pytest.mark.parametrize("left", [b'{"images":1,"ent', b"\0\0\0", b"\0\0\0\n"])
def test_a_line_that_is_not_whole_is_predicted_again(tmp_path, pairs, left):
    path = tmp_path / "predictions.json"
    with pytest.raises(Interrupted):
        predict_five(path, {"weights": "w"}, stop=1)
    with open(tmp_path / ".predictions.json.0.part", "ab") as part:
        part.write(left)
    predict_five(path, {"weights": "w"})
    assert seen(tmp_path) == [1, 2, 3, 4, 5] == [each["image_id"] for each in json.loads(path.read_text())]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_process_stops_all(tmp_path, pairs, rank):
    path = tmp_path / "predictions.json"
    with pytest.raises(Interrupted) as error:
        launch(partial(predict_five, stop=1, rank=rank), (path, {"weights": "w"}, 2), 2, "fork")
    assert error.value.status == LIMIT
    launch(predict_five, (path, {"weights": "w"}, 2), 2, "fork")
    assert [each["image_id"] for each in json.loads(path.read_text())] == [1, 2, 3, 4, 5]
    assert seen(tmp_path) == [1, 2, 3, 4, 5]
