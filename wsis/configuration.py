"""The workflow's configuration (workflow/config.yaml, --config) as the plan's arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from wsis.errors import WsisError, nearest_first

KEYS = frozenset({"scale", "seeds", "data_root", "weights", "set", "gpus"})


def known(config: Mapping[str, Any]) -> None:
    """Raise WsisError for a key that the workflow does not have."""
    for key in config:
        if key not in KEYS:
            raise WsisError(f"unknown configuration: {key} (there are: {nearest_first(key, sorted(KEYS))})")


def seeds(config: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The seeds asked for: `seeds=11`, `seeds=[11,12]` or `seeds=11,12`; None for the scale's own."""
    given = config.get("seeds")
    if given is None:
        return None
    words = given if isinstance(given, list) else str(given).split(",")
    try:
        return tuple(int(word) for word in words)
    except ValueError:
        raise WsisError(f"seeds={given}: expected whole numbers such as [11,12]") from None


def overrides(config: Mapping[str, Any]) -> dict[str, Any]:
    """Recipe keys for every run: `set`, and `weights` as a short form of one of them."""
    given = typed(config.get("set") or {})
    if config.get("weights") is not None:
        given["model.weights"] = config["weights"]
    return given


def entries(texts: Iterable[str], complaint: str) -> dict[str, Any]:
    """['seeds=[1]', 'a.b=none'] -> {"seeds": [1], "a.b": "none"}; values are read as YAML.

    Raises WsisError with `complaint`, in which {} stands for the text, for one without '='.
    """
    values = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise WsisError(complaint.format(text))
        values[key] = yaml.safe_load(value)
    return values


def typed(value: Any) -> Any:
    """`value` with the texts in it read as YAML: Snakemake leaves those in --config's lists and mappings."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return yaml.safe_load(value) if isinstance(value, str) else value
