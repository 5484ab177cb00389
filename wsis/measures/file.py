"""The file of a measure of ours: what was measured with a run's weights, by which code, on which data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsis.files import read_json, write_json

if TYPE_CHECKING:
    from wsis.data.roots import Root


def write_measured(base: Path, kind: str, id: str, content: dict[str, Any], code: str, root: Root) -> Path:
    """Write <base>/<kind>/<id>.json and return its path; the report compares what stands beside `content`.

    base: results/<scale>, which holds the run's folder; code: fingerprint of what measures.
    """
    path = base / kind / f"{id}.json"
    weights = read_json(base / "runs" / id / "train.json").get("weights")
    data = {"root_name": root.name, "fingerprint": root.fingerprint}
    write_json(path, {"recipe": id, "code": code, "weights": weights, **content, "data": data})
    return path
