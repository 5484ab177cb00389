"""The workflow's configuration (config/config.yaml, --config) as the plan's arguments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from wsis.carried import carried
from wsis.documents import Loader, check_bounds, document
from wsis.errors import WsisError, brief, nearest_first, shortened


class _Numbers(Loader):
    """Safe loader that reads 1e-4 and 1e4 as numbers, as YAML 1.2 and JSON do; 1e4 is a whole one."""


def _number(loader: _Numbers, node: yaml.ScalarNode) -> int | float:
    value = float(loader.construct_scalar(node))
    return int(value) if value.is_integer() else value


_Numbers.add_implicit_resolver("!number", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), [*"-+0123456789"])
_Numbers.add_constructor("!number", _number)


LOGGERS = ("csv", "tensorboard")  # what can show a training beside its log.jsonl


def schema() -> dict[str, dict[str, Any]]:
    """The keys of the configuration with what each may be, as JSON schemas (workflow/schemas)."""
    text = (carried("workflow") / "schemas" / "config.schema.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["properties"]


def complete(config: dict[str, Any]) -> None:
    """Give `config` the defaults of the keys that it doesn't have."""
    for key, part in schema().items():
        config.setdefault(key, part["default"])


def known(config: Mapping[str, Any]) -> None:
    """Raise WsisError for a key that the workflow does not have, and for a value of a wrong type."""
    from jsonschema import Draft202012Validator

    keys = schema()
    for key, value in config.items():
        if key not in keys:
            name = key if isinstance(key, str) else brief(key)
            there = nearest_first(name, sorted(keys))
            raise WsisError(f"unknown configuration: {shortened(name)} (there are: {there})")
        check_bounds(value, key)
        if isinstance(value, float) or not Draft202012Validator(keys[key]).is_valid(value):
            raise WsisError(f"{_entry(key, value)}: expected {keys[key]['description']}")
    seeds(config)


def seeds(config: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The seeds asked for: `seeds=11`, `seeds=[11,12]` or `seeds=11,12`; None for the scale's own."""
    given = config.get("seeds")
    return None if given is None else seeds_of(given, _entry("seeds", given))


def _entry(key: str, value: Any) -> str:
    return f"{key}={shortened(value) if isinstance(value, str) else brief(value)}"


def seeds_of(given: Any, said: str) -> tuple[int, ...]:
    """Seeds as a number, a list or a text with commas; WsisError, which begins with `said`, for others."""
    words = given if isinstance(given, list) else str(given).split(",") if isinstance(given, str) else [given]
    texts = [word if isinstance(word, str) else brief(word) for word in words]
    if not texts or not all(re.fullmatch(r"\s*[0-9]{1,9}\s*", text) for text in texts):
        raise WsisError(f"{said}: expected whole numbers from 0 on, of up to nine digits, such as 11,12,13")
    numbers = [int(text) for text in texts]
    if twice := [number for number in numbers if numbers.count(number) > 1]:
        raise WsisError(f"{said}: {twice[0]} is given twice")
    return tuple(numbers)


def overrides(config: Mapping[str, Any]) -> dict[str, Any]:
    """Recipe keys for every run: `set`, and `weights` as a short form of one of them."""
    given = typed(config.get("set") or {}, "set")
    if config.get("weights") is not None:
        given["model.weights"] = config["weights"]
    return given


def predict_only(config: Mapping[str, Any]) -> bool:
    """Whether nothing is to be evaluated; Snakemake leaves `true` of its command line a text."""
    return bool(typed(config.get("predict_only"), "predict_only"))


def split(text: str) -> list[str]:
    """'gpus=0 set={"schedule.lr": 1e-3}' -> its entries: blanks before a key of the configuration divide."""
    return [part for part in re.split(rf"\s+(?=(?:{'|'.join(schema())})=)", text.strip()) if part]


def entries(texts: Iterable[str], complaint: str) -> dict[str, Any]:
    """['seeds=[1]', 'a.b=none'] -> {"seeds": [1], "a.b": "none"}; values are read as YAML.

    Raises WsisError with `complaint`, in which {} stands for the text, for one without '='.
    """
    values = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise WsisError(complaint.format(text))
        values[key] = read_value(value, text)
    return values


def read_value(text: str, said: str) -> Any:
    """The YAML value of `text`. Raises WsisError, which begins with `said`, where it is none."""
    return document(text, f"{shortened(said)}: can't be read as YAML", _Numbers)


def typed(value: Any, key: str) -> Any:
    """`value` with the texts in it read as YAML: Snakemake leaves those in --config's lists and mappings.

    key: what it is the value of, for complaints
    """
    if isinstance(value, dict):
        return {name: typed(item, f"{key}: {name}") for name, item in value.items()}
    if isinstance(value, list):
        return [typed(item, key) for item in value]
    return read_value(value, f"{key}: {value}") if isinstance(value, str) else value
