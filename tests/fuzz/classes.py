"""The classes of bad inputs: how each is made, and what the project does with one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from tests.fuzz import acts, inputs, reasons
from tests.fuzz.weights import load_foreign, weights
from wsis.configuration import schema


@dataclass(frozen=True)
class Class:
    """inputs: (what is given to `act` after a folder, in words what was done to it)."""

    inputs: st.SearchStrategy[tuple[tuple[Any, ...], str]]
    act: Callable[..., None]
    names: tuple[str, ...]  # words, one of which a refusal must have: the file or the key


def _declarations() -> st.SearchStrategy[tuple[tuple[Any, ...], str]]:
    kinds = []
    for name in acts.FILES:
        good = acts.good(name)
        kinds.append(
            inputs.spoilt(yaml.safe_load(good)).map(
                lambda pair, name=name: ((name, inputs.dumped(pair[0])), f"{name}: {pair[1]}")
            )
        )
        kinds.append(
            inputs.cut(good).map(lambda text, name=name: ((name, text), f"{name}: cut or overwritten"))
        )
    names = st.sampled_from(acts.FILES)
    kinds.append(
        st.tuples(names, inputs.documents).map(lambda given: (given, f"{given[0]}: {given[1][:40]!r}"))
    )
    return st.one_of(kinds)


def _files(which: int) -> st.SearchStrategy[tuple[tuple[Any, ...], str]]:
    good = acts.pair()[which]
    whole = inputs.spoilt(good).map(lambda pair: (inputs.as_json(pair[0]), pair[1]))
    torn = inputs.cut(inputs.as_json(good)).map(lambda text: (text, "cut or overwritten"))
    deep = st.integers(1, 100_000).map(lambda n: (b"[" * n, f"{n} lists in one another"))
    other = inputs.hostile.map(lambda value: (inputs.as_json(value), f"another value, {str(value)[:40]}"))
    protocols = st.sampled_from(["coco", "voc", "class-agnostic"])
    content = st.one_of(whole, whole, whole, torn, deep, other)
    return st.tuples(protocols, content).map(
        lambda given: ((given[0], which, given[1][0]), f"{given[0]}: {given[1][1]}")
    )


CLASSES = {
    "declarations": Class(_declarations(), acts.declare, ("/boxinst/", "smoke", "boxinst/1a", "cost.")),
    "configuration": Class(
        inputs.configurations.map(lambda given: ((given,), str(given)[:200])),
        acts.configure,
        (*schema(), "unknown configuration", "boxinst/1a", "cost."),
    ),
    "predictions": Class(_files(0), acts.evaluate, ("predictions.json",)),
    "ground truth": Class(_files(1), acts.evaluate, ("truth.json",)),
    "weights": Class(weights, load_foreign, ("weights",)),
    "file names": Class(
        (st.sampled_from(acts.NAMES) | inputs.hostile).map(lambda name: ((name,), str(name)[:60])),
        acts.open_pictures,
        ("instances_", "train2017", "val2017", "file_name"),
    ),
}


def tried(name: str, given: tuple[Any, ...], folder: Path) -> str | None:
    """`acts.outcome` of one input; a refusal must say where."""
    kind = CLASSES[name]
    line = acts.outcome(kind.act, folder, *given)
    assert line is None or any(word in line for word in kind.names), f"names no file and no key: {line}"
    return line


def reason(name: str, given: tuple[Any, ...]) -> str | None:
    """Why an input may be taken; None where nothing says so."""
    why = {
        "declarations": reasons.of_declarations,
        "configuration": reasons.of_configuration,
        "predictions": reasons.of_files,
        "ground truth": reasons.of_files,
        "weights": reasons.of_weights,
        "file names": reasons.of_file_names,
    }[name]
    return why(*given)
