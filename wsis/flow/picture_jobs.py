"""What `wsis pictures` does: sheets of pictures of trained runs. Which runs have some, their methods say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from wsis.checksums import remove
from wsis.data.places import Roots, run_root, salient_place
from wsis.errors import WsisError
from wsis.judge import same_data
from wsis.methods import info_of, infos
from wsis.methods.info import Pictures
from wsis.plan import Plan
from wsis.records import read_record, write_record


def pictures_of(plan: Plan, id: str) -> Pictures | None:
    """What the run's method, or the method that made its masks, draws of it; None for nothing."""
    run = plan.runs[id]
    maker = plan.runs[run.recipe.proxy.parent] if run.recipe.proxy else run
    for pictures in info_of(maker.recipe.method).pictures:
        beside = pictures.beside and plan.row_runs(*pictures.beside).get(run.seed)
        fits = pictures.beside is None or (beside and {*run.rows} & {*pictures.rows})
        if fits and pictures.of_masks == (maker is not run):
            return pictures
    return None


def run_beside(plan: Plan, id: str) -> str | None:
    """The run of the same seed that a run is shown beside."""
    pictures = pictures_of(plan, id)
    return plan.row_runs(*pictures.beside)[plan.runs[id].seed] if pictures and pictures.beside else None


def runs_shown(plan: Plan, id: str) -> list[str]:
    """The trained runs that pictures of a run show: its own, that of its masks, the one beside it."""
    proxy = plan.runs[id].recipe.proxy
    return [run for run in (id, proxy and proxy.parent, run_beside(plan, id)) if run]


def illustrated(plan: Plan) -> list[str]:
    """The runs whose pictures stand in reports, the first seed's of each row that a method names."""
    rows = [row for info in infos().values() for pictures in info.pictures for row in pictures.rows]
    return [run for row in rows for run in list(plan.row_runs(*row).values())[:1]]


def picture_runs(plan: Plan, ids: Sequence[str], results: Path, data_root: Roots) -> list[Path]:
    """Write <run>/pictures/*.jpg and, last, <run>/pictures/pictures.json of each run; on the CPU.

    Raises WsisError for a run that has no pictures, isn't trained, or was trained on other data or masks.
    """
    plan.check_known(ids)
    for id in ids:
        if pictures_of(plan, id) is None:
            there = [
                f"runs {'trained on masks of' if pictures.of_masks else 'of'} {name} ({pictures.words})"
                for name, info in infos().items()
                for pictures in info.pictures
            ]
            raise WsisError(f"{id}: there are no pictures of it, only of {'; '.join(there)}")
    return [_draw_run(plan, id, results, data_root) for id in ids]


def _draw_run(plan: Plan, id: str, results: Path, data_root: Roots) -> Path:
    from wsis.data.roots import open_root
    from wsis.data.salient import open_salient
    from wsis.methods.weights import trained_method
    from wsis.pictures.grid import save_sheets
    from wsis.pictures.subject import Subject, pictures_with_masks

    scale, recipe, other = plan.scale.name, plan.runs[id].recipe.settled(), run_beside(plan, id)
    run = results / scale / "runs" / id
    root = open_root(recipe, run_root(recipe, results, scale, data_root))
    same_data(run, root)
    whence, index = f"Scale {scale}, seed {recipe.seed}, run {id}", run / "pictures" / "pictures.json"
    if other and not (run.with_name(other) / "train.json").exists():
        _remove_old(index)
        print(f"{whence}: no pictures, since {other}, which it is shown beside, isn't trained.", flush=True)
        write_record(index, [])
        return index
    place = salient_place(recipe, results, scale, data_root)
    salient = open_salient(place, cache=results / scale / "data") if place is not None else None
    subject = Subject(recipe, root, salient, pictures_with_masks(recipe, root), {})
    shown = [run]
    if recipe.proxy:
        shown, subject.proxy = [run.with_name(recipe.proxy.parent)], read_record(run / "train.json")["proxy"]
        subject.masks = _raw_masks(run, shown[0], subject.proxy["weights"])
        whence += f", masks by {recipe.proxy.parent}"
    elif other:
        shown = [run.with_name(other), run]
        same_data(shown[0], root)
        whence += f", beside run {other}"
    for folder in shown:
        network, _ = trained_method(folder, plan.runs[folder.name].recipe.settled(), root.num_classes)
        subject.networks[folder] = network.eval()
    _remove_old(index)
    sheets = resolve_name(pictures_of(plan, id).draw)(subject)
    write_record(index, save_sheets(sheets, index.parent, f"{whence}."))
    return index


def _raw_masks(run: Path, origin: Path, weights: str) -> Iterator[dict[str, Any]]:
    """The raw proxy masks that a run was trained on. Raises WsisError where they aren't there any more."""
    from wsis.proxy.folder import proxy_files
    from wsis.proxy.generate import read_head, read_proxies

    files = proxy_files(origin)  # those of the present weights
    if not files or read_head(files[0])["made_by"]["weights"] != weights:
        raise WsisError(
            f"{run}: was trained on masks of {origin.name} with weights {weights}, which aren't in {origin}"
            " any more; train it again"
        )
    return read_proxies(*files)


def _remove_old(index: Path) -> None:
    """Remove a run's pictures, their index first: a report shows what it names."""
    index.parent.mkdir(exist_ok=True)
    for path in (index, *index.parent.glob("*.jpg")):
        remove(path)
