"""What `wsis pictures` does: sheets of pictures of trained runs, from a plan and the runs' folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsis.data.places import Roots, run_root, salient_place
from wsis.declare.recipe import Recipe
from wsis.errors import WsisError
from wsis.files import read_json, write_json
from wsis.plan import Plan

if TYPE_CHECKING:
    from torch.nn import Module

    from wsis.data.roots import Picture, Root

PPC = ("baiseg/3", "CFM + DMA", "CFM + DMA + PPC")  # a table, and its rows without and with PPC


def picture_runs(plan: Plan, ids: Sequence[str], results: Path, data_root: Roots) -> list[Path]:
    """Write <run>/pictures/*.jpg and, last, <run>/pictures/pictures.json of each run; on the CPU.

    A sheet that shows two runs is left out where the other isn't trained. Raises WsisError for a run that has
    no pictures, isn't trained, or was trained on other data or masks.
    """
    scale = plan.scale.name
    for id in ids:  # before any work
        if id not in plan.runs:
            raise WsisError(f"no run {id} at scale {scale} with these seeds; see `wsis plan`")
        recipe = plan.runs[id].recipe
        if recipe.method not in ("sim", "boxcaseg", "baiseg") and recipe.proxy is None:
            raise WsisError(
                f"{id}: pictures show what SIM, BoxCaseg and BAISeg do; give a run of SIM, of BoxCaseg or of"
                " BAISeg, or one that is trained on proxy masks by BoxCaseg (see `wsis plan`)"
            )
        if recipe.proxy is not None and plan.runs[recipe.proxy.parent].recipe.method != "boxcaseg":
            raise WsisError(
                f"{id}: only a run that is trained on BoxCaseg's masks has pictures; draw those of"
                f" {recipe.proxy.parent}, which made its masks"
            )
    return [_draw_run(plan, id, results, data_root) for id in ids]


def without_ppc(plan: Plan, id: str) -> str | None:
    """The run that a run with PPC is shown beside, of the same seed; None for a run of another row."""
    table, before, after = PPC
    seed = plan.runs[id].seed
    return plan.row_runs(table, before).get(seed) if plan.row_runs(table, after).get(seed) == id else None


def _draw_run(plan: Plan, id: str, results: Path, data_root: Roots) -> Path:
    from wsis.data.roots import open_root
    from wsis.data.salient import open_salient
    from wsis.methods.boxcaseg.pictures import draw_stage1
    from wsis.methods.boxcaseg.proxy_pictures import draw_stage2
    from wsis.methods.sim.pictures import draw_pictures
    from wsis.proxy.annotations import ProxyRules

    scale = plan.scale.name
    run, recipe = results / scale / "runs" / id, plan.runs[id].recipe.settled()
    root = open_root(recipe, run_root(recipe, results, scale, data_root))
    trained = read_json(run / "train.json")
    if trained["data"]["fingerprint"] != root.fingerprint:
        raise WsisError(
            f"{run}: was trained on annotations {trained['data']['fingerprint']}, not on those of {root.path}"
            f" ({root.fingerprint}); give the data root that it was trained on"
        )
    whence, folder = f"Scale {scale}, seed {recipe.seed}, run {id}", run / "pictures"
    pictures = pictures_with_masks(recipe, root)
    if recipe.proxy is None:
        method, iteration = _trained(recipe, root, run)
        whence += f" after {iteration} iterations."
        if recipe.method == "sim":
            _remove_old(folder)
            made = draw_pictures(method, recipe, root, pictures, folder, whence)
        elif recipe.method == "baiseg":
            made = _draw_baiseg(plan, method, root, run, pictures, whence)
        else:
            place = salient_place(recipe, results, scale, data_root)
            salient = open_salient(place, cache=results / scale / "data") if place is not None else None
            _remove_old(folder)
            made = draw_stage1(method, recipe, root, salient, pictures, folder, whence)
    else:
        origin = run.parent / recipe.proxy.parent
        raw = _raw_masks(run, origin, trained["proxy"]["weights"])
        method, _ = _trained(plan.runs[origin.name].recipe.settled(), root, origin)
        spec = recipe.proxy
        rules = ProxyRules(spec.merge, spec.order, spec.drop, spec.agreement, recipe.seed)
        whence += f", masks by {origin.name}."
        _remove_old(folder)
        made = draw_stage2(method, root, raw, rules, trained["proxy"], pictures, folder, whence)
    write_json(folder / "pictures.json", made)
    return folder / "pictures.json"


def _draw_baiseg(
    plan: Plan, method: Module, root: Root, run: Path, pictures: list[Picture], whence: str
) -> list[dict[str, Any]]:
    """The steps of the extraction; of a run with PPC its instances beside those of the one without."""
    from wsis.jobs import same_data
    from wsis.methods.baiseg.pictures import draw_contrast, draw_steps

    folder, other = run / "pictures", without_ppc(plan, run.name)
    if other is None:
        _remove_old(folder)
        return draw_steps(method, root, pictures, folder, whence)
    before = run.parent / other
    if not (before / "train.json").exists():
        _remove_old(folder)
        print(f"{whence} No sheet of PPC: {other}, the run without it, isn't trained.", flush=True)
        return []
    same_data(before, root)
    first, _ = _trained(plan.runs[other].recipe.settled(), root, before)
    _remove_old(folder)
    return draw_contrast([first, method], root, pictures, folder, f"{whence} Without PPC: run {other}.")


def _trained(recipe: Recipe, root: Root, run: Path) -> tuple[Module, int]:
    """The network of a run, and the iterations that it was trained for."""
    from wsis.engine.checkpoint import load_model
    from wsis.methods import build_method
    from wsis.methods.baiseg.threshold import restore_threshold

    model = load_model(run / "model.pt")
    method = build_method(recipe, root.num_classes)
    method.load_state_dict(model["model"])
    restore_threshold(method, run)
    return method, model["iteration"]


def _raw_masks(run: Path, origin: Path, weights: str) -> Iterator[dict[str, Any]]:
    """The raw proxy masks that a run was trained on. Raises WsisError where they aren't there any more."""
    from wsis.proxy.generate import read_head, read_proxies
    from wsis.proxy.run import proxy_files

    files = proxy_files(origin)  # those of the present weights
    if not files or read_head(files[0])["made_by"]["weights"] != weights:
        raise WsisError(
            f"{run}: was trained on masks of {origin.name} with weights {weights}, which aren't in {origin}"
            " any more; train it again"
        )
    return read_proxies(*files)


def _remove_old(folder: Path) -> None:
    """A report shows what pictures.json names, so that goes first."""
    for path in (folder / "pictures.json", *folder.glob("*.jpg")):
        path.unlink(missing_ok=True)


def pictures_with_masks(recipe: Recipe, root: Root) -> list[Picture]:
    """The evaluation pictures of a recipe that trains on boxes, with their masks."""
    from wsis.data.roots import open_root

    data = recipe.data.model_copy(
        update={"train": recipe.data.eval, "train_images": None, "supervision": "masks"}
    )
    masked = open_root(recipe.model_copy(update={"data": data}), root.path)
    evaluated = {picture.id for picture in root.eval}
    return [picture for picture in masked.train if picture.id in evaluated]
