"""Two trained runs of the smoke scale, and one of them as a model."""

import shutil
from types import SimpleNamespace

import pytest

import wsis
from tests.trained.runs import ROWS, SET
from wsis.data.places import shapes_root
from wsis.engine.job import RunOptions
from wsis.engine.run import train_runs
from wsis.engine.train import TrainOptions
from wsis.flow.jobs import evaluate_runs, make_data
from wsis.plan import make_plan


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
def model(trained):
    return wsis.load(trained.detector, "cpu")
