"""What `wsis pictures` does: sheets of pictures of trained SIM runs, from a plan and the runs' folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wsis.data.places import Roots, run_root
from wsis.data.roots import Picture, Root, open_root
from wsis.declare.recipe import Recipe
from wsis.errors import WsisError
from wsis.evaluation.files import read_json, write_json
from wsis.plan import Plan


def picture_runs(plan: Plan, ids: Sequence[str], results: Path, data_root: Roots) -> list[Path]:
    """Write <run>/pictures/*.jpg and, last, <run>/pictures/pictures.json of each run; on the CPU.

    Raises WsisError for a run that isn't SIM's, isn't trained, or was trained on other data.
    """
    from wsis.engine.checkpoint import load_model
    from wsis.methods import build_method
    from wsis.probe.pictures import draw_pictures

    scale = plan.scale.name
    for id in ids:  # before any work
        if id not in plan.runs:
            raise WsisError(f"no run {id} at scale {scale} with these seeds; see `wsis plan`")
        if plan.runs[id].recipe.method != "sim":
            raise WsisError(f"{id}: pictures show what SIM does; give a run of SIM (see `wsis plan`)")
    written = []
    for id in ids:
        run, recipe = results / scale / "runs" / id, plan.runs[id].recipe.settled()
        root = open_root(recipe, run_root(recipe, results, scale, data_root))
        trained = read_json(run / "train.json")["data"]["fingerprint"]
        if trained != root.fingerprint:
            raise WsisError(
                f"{run}: was trained on annotations {trained}, not on those of {root.path}"
                f" ({root.fingerprint}); give the data root that it was trained on"
            )
        model = load_model(run / "model.pt")
        method = build_method(recipe, root.num_classes)
        method.load_state_dict(model["model"])
        whence = f"Scale {scale}, seed {recipe.seed}, run {id} after {model['iteration']} iterations."
        pictures = pictures_with_masks(recipe, root)
        _remove_old(run / "pictures")
        made = draw_pictures(method, recipe, root, pictures, run / "pictures", whence)
        written.append(run / "pictures" / "pictures.json")
        write_json(written[-1], made)
    return written


def _remove_old(folder: Path) -> None:
    """A report shows what pictures.json names, so that goes first."""
    for path in (folder / "pictures.json", *folder.glob("*.jpg")):
        path.unlink(missing_ok=True)


def pictures_with_masks(recipe: Recipe, root: Root) -> list[Picture]:
    """The evaluation pictures of a recipe that trains on boxes, with their masks."""
    data = recipe.data.model_copy(
        update={"train": recipe.data.eval, "train_images": None, "supervision": "masks"}
    )
    masked = open_root(recipe.model_copy(update={"data": data}), root.path)
    evaluated = {picture.id for picture in root.eval}
    return [picture for picture in masked.train if picture.id in evaluated]
