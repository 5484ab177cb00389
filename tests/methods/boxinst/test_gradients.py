"""How hard the two terms pull: against the gradients by hand, and paper against released on images."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tests.methods.boxinst.test_affinity import SHARED
from tests.methods.scenes import batch, generator, recipe
from wsis.cli import app
from wsis.methods import build_method
from wsis.methods.boxinst.method import term_gradients

PAPER, SAME, RELEASED = "paper, tau 0.1", "released, tau 0.1", "released, tau 0.3"


def trained(watched: dict | None, **keys):
    torch.manual_seed(0)
    method = build_method(recipe(**keys), 3)
    method.watched = watched
    losses = method.losses(batch(), generator())
    sum(losses.values()).backward()
    return losses, [parameter.grad for parameter in method.parameters()]


def test_norms_are_those_of_the_terms_alone():
    z = torch.randn(2, 5, 5).requires_grad_()
    losses = {"loss_proj": z.square().sum(), "loss_pair": (3 * z).sum(), "loss_cls": z.sum()}
    found = term_gradients(losses, z)
    assert found["gradient_proj"].item() == pytest.approx(2 * z.norm().item(), rel=1e-5)
    assert found["gradient_pair"].item() == pytest.approx(3 * 50**0.5, rel=1e-5)
    assert found["pair_to_proj"] == found["gradient_pair"] / found["gradient_proj"]
    assert {*term_gradients({"loss_proj": z.sum()}, z)} == {"gradient_proj"}


@pytest.mark.parametrize(
    "keys", [{}, {"variant": "released", "loss__pairwise__tau": 0.0}, {"method": "sim", "sim": {}}]
)
def test_watching_a_step_changes_nothing_in_it(keys):
    watched: dict = {}
    losses, gradients = trained(watched, **keys)
    plain, expected = trained(None, **keys)
    assert {*watched} == {"gradient_proj", "gradient_pair", "pair_to_proj"} and watched["pair_to_proj"] > 0
    assert all(torch.equal(losses[name], plain[name]) for name in plain)
    for gradient, other in zip(gradients, expected, strict=True):
        assert (gradient is None) == (other is None) and (gradient is None or torch.equal(gradient, other))


def bench(root, *words: str) -> dict:
    result = CliRunner().invoke(app, ["bench", "gradients", "--data-root", str(root), "--json", *words])
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """COCO's layout: one image of one colour, whose edges all supervise, and one of noise, where few do."""
    root = tmp_path_factory.mktemp("coco")
    (root / "annotations").mkdir()
    (root / "val2017").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    for id, pixels in ((1, np.full((60, 80, 3), 90, np.uint8)), (2, noise)):
        Image.fromarray(np.repeat(np.repeat(pixels, 8, 0), 8, 1)).save(root / f"val2017/{id}.png")
    box = {"bbox": [160, 120, 240, 200], "area": 48000, "iscrowd": 0, "category_id": 1}
    outline = {"segmentation": [[160, 120, 400, 120, 400, 320, 160, 320]]}
    content = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 480, "width": 640} for i in (1, 2)],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [{"id": i, "image_id": i, **box, **outline} for i in (1, 2)],
    }
    (root / "annotations/instances_val2017.json").write_text(json.dumps(content))
    return root


def test_few_supervised_edges_make_the_papers_term_weak(root):
    """With one object it is |E_in| over the number of supervised edges, but for those at the border."""
    found = bench(root)
    plain, noisy = found["images"]["1.png"], found["images"]["2.png"]
    assert plain[SAME]["gradient_pair"] / plain[PAPER]["gradient_pair"] == pytest.approx(1, abs=0.1)
    assert noisy[SAME]["gradient_pair"] / noisy[PAPER]["gradient_pair"] > 3
    ratios = [row[SAME]["gradient_pair"] / row[PAPER]["gradient_pair"] for row in (plain, noisy)]
    told = found["summary"][SAME]["pair_to_paper"]
    assert told == pytest.approx([sum(ratios) / 2, min(ratios), max(ratios)])
    assert found["summary"][PAPER]["pair_to_paper"] == [1, 1, 1]


@pytest.mark.slow
def test_photographs():
    """Measured elsewhere on five photographs: 1.2 to 9.4, median 2.7."""
    if not (SHARED / "coco").exists():
        pytest.skip(f"no real images at {SHARED / 'coco'}")
    median, lowest, highest = bench(SHARED / "coco")["summary"][SAME]["pair_to_paper"]
    assert 1 < lowest < 1.6 < median < 4 < highest < 12


def test_other_roots_are_refused(tmp_path):
    result = CliRunner().invoke(app, ["bench", "gradients", "--data-root", f"voc={tmp_path}"])
    assert "give coco=PATH" in str(result.exception)
