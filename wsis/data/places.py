"""Where the images of a recipe lie: a generated root under results/, or the user's for its data set."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from wsis.declare.recipe import Recipe
from wsis.documents import document
from wsis.errors import WsisError, brief, shortened
from wsis.files import of_user

Roots = str | Path | Mapping[str, str] | None
KINDS = ("coco", "voc", "salient")


def shapes_root(recipe: Recipe) -> str | None:
    """Folder name of the generated data root that `recipe` trains on; None for other data sets."""
    if recipe.data.dataset != "shapes":
        return None
    identity = f"{recipe.data.shapes.model_dump_json()} {recipe.seed}"
    return f"shapes-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def run_root(recipe: Recipe, results: Path, scale: str, roots: Roots) -> Path:
    """The data root of a recipe.

    roots: what the user gave: the path of a COCO or of a VOC root, or several as 'coco=PATH,voc=PATH', with
    'salient=PATH' for the images of `salient_place` (see `named_roots`).
    Generated roots are results/<scale>/data/<name> whatever is given. Raises WsisError when none fits.
    """
    generated = shapes_root(recipe)
    if generated:
        return Path(results) / scale / "data" / generated
    dataset, given = recipe.data.dataset, named_roots(roots)
    if dataset not in given:
        known = f" (given: {', '.join(sorted(given))})" if given else ""
        raise WsisError(
            f"scale {scale} trains on {dataset}: give its root with --data-root PATH"
            f" or --data-root {dataset}=PATH{known}"
        )
    return given[dataset]


def salient_place(recipe: Recipe, results: Path, scale: str, roots: Roots) -> Path | None:
    """The salient root of a recipe, None where it trains on none; WsisError where none is given.

    A generated root has it in its folder salient/; beside other data it is the user's 'salient=PATH'.
    """
    if recipe.data.supervision != "boxes+salient":
        return None
    if shapes_root(recipe):
        if not recipe.data.shapes.salient_images:
            raise WsisError(
                f"scale {scale} generates no salient images: set data.shapes.salient_images above 0"
            )
        return run_root(recipe, results, scale, roots) / "salient"
    given = named_roots(roots)
    if "salient" not in given:
        raise WsisError(
            f"scale {scale} trains on salient images: give their root beside that of {recipe.data.dataset},"
            f" --data-root {recipe.data.dataset}=PATH,salient=PATH"
        )
    return given["salient"]


def named_roots(roots: Roots) -> dict[str, Path]:
    """'coco=/a,voc=/b' -> {"coco": /a, "voc": /b}; a plain path: VOC's if it has ImageSets/, or COCO's.

    A mapping, or the text of one in YAML ('{coco: "/with, comma"}'), takes any path. ~ is one's home.
    Raises WsisError for what is understood in part only.
    """
    if roots is None:
        return {}
    if isinstance(roots, str) and roots.lstrip().startswith("{"):
        said = f"data_root {shortened(roots)}: not a mapping such as {{coco: PATH, voc: PATH}}"
        roots = document(roots, said)
    if not isinstance(roots, Mapping):
        parts = str(roots).split(",")
        named = [bool(re.match(rf"({'|'.join(KINDS)})=.", part)) for part in parts]
        if all(named):
            roots = dict(part.split("=", 1) for part in parts)
            if len(roots) < len(parts):
                raise WsisError(f"data_root {','.join(parts)}: names a data set twice")
        elif any(named) or (re.match(r"\w+=", str(roots)) and not Path(roots).exists()):
            raise WsisError(
                f"data_root {roots}: not every part is coco=PATH, voc=PATH or salient=PATH; for a path with a"
                ' comma, write {coco: "PATH"}'
            )
        else:
            path = of_user(str(roots), "data_root")
            return {"voc" if (path / "ImageSets").is_dir() else "coco": path}
    for name, path in roots.items():
        if name not in KINDS or not isinstance(path, str | Path) or not str(path):
            raise WsisError(
                f"data_root: {brief(name)}: {brief(path)} is no path of a data set ({', '.join(KINDS)})"
            )
    return {name: of_user(str(path), f"data_root: {name}") for name, path in roots.items()}
