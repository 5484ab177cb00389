import json
from functools import partial

import pytest
import torch

from tests.engine.toy import Toy, one_mask, toy_recipe
from wsis.data.loading import MAX_IMAGES, MAX_PIXELS, groups
from wsis.data.structures import Sample
from wsis.engine.launch import launch, make_fabric
from wsis.engine.predict import predict_samples
from wsis.errors import WsisError
from wsis.progress import Progress


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
