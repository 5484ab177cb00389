"""What the command line's jobs do with a plan: everything between reading files and calling the package."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from wsis.data.places import Roots, named_roots, run_root
from wsis.declare.load import load_figures
from wsis.declare.recipe import DataSpec, Recipe
from wsis.declare.stored import difference
from wsis.errors import WsisError
from wsis.files import read_json
from wsis.plan import Plan, shapes_root


def make_data(plan: Plan, results: Path, root: str | None = None) -> list[Path]:
    """Draw the generated roots that the plan's runs read, or only `root`; existing ones stay as they are.

    root: a folder name. Raises WsisError when no run reads it.
    """
    from wsis.data.shapes.write import write_shapes

    roots = {name: run.recipe for run in plan.runs.values() if (name := shapes_root(run.recipe))}
    if root is not None and root not in roots:
        there = ", ".join(roots) or "none"
        raise WsisError(f"no run reads a root {root} with these seeds (there are: {there})")
    base = results / plan.scale.name / "data"
    wanted = roots if root is None else [root]
    return [write_shapes(roots[name].data.shapes, roots[name].seed, base / name) for name in wanted]


def evaluate_runs(plan: Plan, ids: Sequence[str], results: Path, data_root: Roots) -> None:
    """metrics.json of each run, under the protocol of the tables that show it."""
    from wsis.data.roots import eval_annotations, eval_image_ids, open_root, voc_category_ids
    from wsis.evaluation.run import evaluate_run

    opened, root = None, None
    for id in ids:
        if id not in plan.runs:
            raise WsisError(f"no run {id} at scale {plan.scale.name} with these seeds; see `wsis plan`")
        recipe, folder = plan.runs[id].recipe, results / plan.scale.name / "runs" / id
        if text := difference(folder, recipe):
            raise WsisError(f"{folder}: {text}; train it again")
        wanted = run_root(recipe, results, plan.scale.name, data_root), recipe.data
        if wanted != opened:  # runs of a job mostly have one root
            opened, root = wanted, open_root(recipe, wanted[0])
            images = eval_image_ids(recipe, root)
            annotations = eval_annotations(root, results / plan.scale.name / "data")
            voc = voc_category_ids(root)
            groups = {"voc": voc, "nonvoc": [c for c in root.category_ids if c not in voc]}
        same_data(folder, root)
        evaluate_run(folder, annotations, plan.protocols(id), groups, images)


def same_data(folder: Path, root) -> None:
    """Raise WsisError when a run was trained on other annotations than those of `root`."""
    trained = read_json(folder / "train.json")["data"]
    if trained["fingerprint"] != root.fingerprint:
        raise WsisError(
            f"{folder}: was trained on {trained['root_name']} (annotations {trained['fingerprint']}), not on "
            f"{root.path} ({root.fingerprint}); keep the data sets' results apart, or delete this folder"
        )


def measure_affinity(
    plan: Plan,
    results: Path,
    data_root: Roots,
    stride: int | None = None,
    short_side: int | None = None,
    images: int | None = None,
) -> None:
    """results/<scale>/affinity.json over the evaluation images of the scale.

    Photographs are measured as the paper's loss sees them, at its test size (800, at most 1333) with stride
    4; generated images at their own size with the stride of the tiny net's masks. Arguments override.
    """
    from rich.console import Console
    from rich.table import Table

    from wsis.data.roots import open_root
    from wsis.files import write_json
    from wsis.methods.boxinst.affinity import Affinity, colour_affinity

    recipe = _affinity_recipe(plan, short_side, images)
    root = open_root(recipe, run_root(recipe, results, plan.scale.name, data_root))
    thresholds = sorted(
        {t for figure in load_figures().values() for t in figure.thresholds} | {0.0, 0.1, 0.2}
    )
    affinity = Affinity(thresholds, stride or (2 if plan.scale.data == "generated" else 4))
    content = colour_affinity(_scenes(recipe, root), affinity)
    content["short_side"] = recipe.data.eval_short_side
    content["data"] = {"root_name": root.name, "fingerprint": root.fingerprint}
    path = results / plan.scale.name / "affinity.json"
    write_json(path, content)
    table = Table("tau", *(f"{name}: {what}" for name in content["definitions"] for what in ("prop", "kept")))
    for i, tau in enumerate(thresholds):
        cells = [c[what][i] for c in content["definitions"].values() for what in ("prop", "kept")]
        table.add_row(f"{tau:g}", *("" if cell is None else f"{cell:.1f}" for cell in cells))
    Console().print(table)
    print(f"{content['images']} images, {content['objects']} objects, {content['seconds']:.0f} s: {path}")


def _affinity_recipe(plan: Plan, short_side: int | None, images: int | None) -> Recipe:
    """A recipe whose 'training' pictures are the scale's evaluation images, masks visible."""
    if not plan.runs:
        raise WsisError(f"scale {plan.scale.name} has no runs to take the data from")
    recipe = next(iter(plan.runs.values())).recipe
    if plan.scale.data == "generated":
        size = {"eval_short_side": recipe.data.eval_short_side}
    else:
        size = {"eval_short_side": DataSpec().eval_short_side, "max_side": DataSpec().max_side}
    if short_side:
        size["eval_short_side"] = short_side
    data = recipe.data.model_copy(
        update={
            "train": recipe.data.eval,
            "supervision": "masks",
            "train_images": images or recipe.data.eval_images,
            **size,
        }
    )
    return recipe.model_copy(update={"data": data})


def _scenes(recipe: Recipe, root) -> Iterator:
    import torch

    from wsis.data.loading import annotated
    from wsis.data.transforms import network_size, read_image, resize
    from wsis.methods.boxinst.affinity import Scene

    for picture in root.train:
        h, w = picture.height, picture.width
        view = annotated(read_image(picture.path, h, w), picture, hidden=False)
        height, width, _ = network_size(h, w, recipe.data.eval_short_side, recipe.data.max_side)
        view = resize(view, height, width)
        image = torch.from_numpy(view.image.transpose(2, 0, 1).copy())
        yield Scene(image, torch.from_numpy(view.boxes), torch.from_numpy(view.masks))


def write_report(plan: Plan, results: Path, reports: Path, data_root: Roots, reference: bool = False) -> Path:
    """Everything under reports/<scale>/ and results/<scale>/metrics.csv; returns the path of index.html.

    reference: also write results/reference/<scale>/ (metrics.csv, claims.json) and copy the rendered tables,
    plots and diff.json to reports/reference/<scale>/, what later runs are compared with.
    """
    from wsis.report.build import build_report
    from wsis.report.collect import write_metrics
    from wsis.report.diff import write_diff, write_reference
    from wsis.report.render import render_report

    report = build_report(plan, results)
    scale = plan.scale.name
    out = reports / scale
    given = named_roots(data_root)
    roots = {
        id: run_root(recipe, results, scale, data_root)
        for id in report.runs
        if shapes_root(recipe := plan.runs[id].recipe) or recipe.data.dataset in given
    }
    out.mkdir(parents=True, exist_ok=True)
    write_metrics(report, results / scale / "metrics.csv")
    write_diff(report, out / "diff.json")
    page = render_report(report, results, out, roots)
    if reference:
        measured = {r.table.key for r in report.tables if any(cell.n for cell in r.cells.values())}
        write_reference(report, results / "reference" / scale)
        _copy_rendered(out, reports / "reference" / scale, measured)
    return page


def _copy_rendered(source: Path, target: Path, tables: set[str]) -> None:
    """diff.json, the figures, and the md, csv, tex and png of these tables."""
    shutil.rmtree(target, ignore_errors=True)
    for path in sorted(source.rglob("*")):
        key = f"{path.parent.name}/{path.stem.removeprefix('table')}"
        wanted = key in tables and path.suffix in (".md", ".csv", ".tex", ".png")
        if wanted or path.name == "diff.json" or path.stem.startswith("figure"):
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
