"""The threshold of BAISeg's boundary map, chosen on drawn development images."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pycocotools import mask as masks

from tests.methods.baiseg.runs import literal_ap50, settings_of
from wsis.data.annotations import Instance, Picture
from wsis.data.structures import SemanticSample
from wsis.methods.baiseg import threshold
from wsis.methods.baiseg.extract.pipeline import extract
from wsis.methods.baiseg.maps import Maps
from wsis.methods.baiseg.threshold import GRID, _of_all, set_threshold
from wsis.plan import make_plan

NO_ROOT = SimpleNamespace(path="nowhere", fingerprint="", eval_fingerprint="")  # dev_samples are drawn here


@pytest.fixture(scope="module")
def recipe():
    plan = make_plan("smoke")
    return plan.runs[plan.row_runs("baiseg/3", "CFM + DMA + PPC + refinement")[0]].recipe.settled()


class Drawn(torch.nn.Module):
    """Finds a contact between two squares, and a weaker edge inside one of them."""

    def __init__(self, contact, inside, recipe):
        super().__init__()
        self.contact, self.inside, self.recipe = contact, inside, recipe
        self.iteration = torch.zeros(())

    def extraction_at(self, threshold):
        return settings_of(self.recipe, threshold)

    def maps(self, samples):
        semantic = np.zeros((40, 60), np.uint8)
        semantic[10:30, 10:50] = 1
        boundary = np.zeros((40, 60), np.float32)
        boundary[10:30, 29:31] = self.contact
        boundary[10:30, 39:41] = self.inside
        return [Maps(np.zeros((40, 60, 3), np.uint8), boundary, semantic, np.ones((40, 60), np.float32))]

    def extracted(self, maps, settings):
        return extract(maps.image, maps.boundary, maps.semantic, settings, maps.certainty).instances


def two_squares(crowd=False):
    objects = []
    for number, left in enumerate((10, 30)):
        mask = np.zeros((40, 60), np.uint8, order="F")
        mask[10:30, left : left + 20] = 1
        objects.append(Instance(number, 0, (left, 10, left + 20, 30), False, masks.encode(mask)))
    if crowd:
        mask = np.zeros((40, 60), np.uint8, order="F")
        mask[32:38, 10:50] = 1
        objects.append(Instance(2, 0, (10, 32, 50, 38), True, masks.encode(mask)))
    return Picture(7, None, 40, 60, objects)


@pytest.mark.parametrize("crowd", [False, True])
@pytest.mark.parametrize(
    ("contact", "inside", "best"), [(0.35, 0.12, 0.15), (0.95, 0.27, 0.3), (0.35, 0, 0.005), (0, 0, 0.005)]
)
def test_the_lowest_of_the_best_thresholds_is_chosen(recipe, monkeypatch, contact, inside, best, crowd):
    """Above the edge inside, below the contact; and without a crowd region that nothing can match."""
    method = Drawn(contact, inside, recipe)
    image = SemanticSample(torch.zeros(3, 40, 60, dtype=torch.uint8), (40, 60), 7)
    monkeypatch.setattr(threshold, "dev_samples", lambda *_: [(two_squares(crowd), image)])
    told = set_threshold(recipe, method, NO_ROOT)["threshold"]
    found = {
        value: literal_ap50(
            [two_squares()], [method.extracted(method.maps([])[0], settings_of(recipe, value))]
        )
        for value in GRID
    }
    assert told["AP50"] == {f"{value:g}": pytest.approx(ap, abs=1e-3) for value, ap in found.items()}
    assert told["value"] == method.threshold == best
    assert found[best] == max(found.values()) and all(
        found[value] < found[best] for value in GRID if value < best
    )
    assert contact == 0 or found[best] == 100


def test_a_threshold_of_the_recipe_is_not_chosen(recipe):
    for own, value in (({"threshold": 0.0}, 0.0), ({"boundary": "none"}, None)):
        spec = recipe.baiseg.model_copy(update=own)
        method = Drawn(0.5, 0, recipe)
        assert set_threshold(recipe.model_copy(update={"baiseg": spec}), method, NO_ROOT) == {}
        assert method.threshold == value


def test_each_process_extracts_its_share_and_all_see_all_images_in_order(monkeypatch):
    shares = [[f"image {place}" for place in range(rank, 7, 3)] for rank in range(3)]

    def gather(parts, mine):
        parts[:] = shares

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    for mine in shares:
        assert _of_all(mine, 7, 3) == [f"image {place}" for place in range(7)]
    assert _of_all(["one"], 1, 1) == ["one"]
