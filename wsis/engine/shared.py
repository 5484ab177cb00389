"""What the runs of one process compute once, because they read the same images in the same order.

Rows of a seed on one frozen base see the same batches, and readings of one network the same images. Methods
note what holds for all of them on the batch or the image (`wsis.data.structures.Memo`); here those notes are
kept for the next run. A batch is a function of its iteration and a note a function of the batch and of the
base's weights, so that a run that finds nothing kept (a resumed one) computes the very same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from torch import Tensor

from wsis.data.roots import Root
from wsis.data.salient import SalientRoot
from wsis.data.structures import Memo
from wsis.declare.recipe import Recipe

LIMIT = 2**30  # bytes of notes on batches that are kept in a process
M = TypeVar("M", bound=Memo)
Make = Callable[[int], Iterator[list[M]]]  # iteration -> the stream of batches from there on


def images_key(recipe: Recipe, root: Root, salient: SalientRoot | None) -> Hashable:
    """What determines the images of every training batch, their boxes, how they are cut; masks may differ."""
    data, schedule = recipe.data.model_dump(mode="json"), recipe.schedule
    drawn = {"supervision"} if recipe.boxcaseg is None else set()  # salient images or none
    data = str({key: value for key, value in data.items() if key not in drawn})
    cut = None if recipe.baiseg is None else recipe.baiseg.crop
    if recipe.boxcaseg is not None:
        spec = recipe.boxcaseg
        cut = (spec.ratio, spec.salient_images, spec.shift, spec.normalise, spec.patch, spec.side)
    # Instances that another network found have boxes of their own.
    instances = recipe.proxy.parent if recipe.proxy and recipe.proxy.instances else None
    found = None if salient is None else salient.fingerprint
    return str(root.path), root.fingerprint, found, data, recipe.seed, schedule.batch, cut, instances


def shared_stream(key: Hashable, start: int, make: Make) -> Iterator[list[M]]:
    """Batches from iteration `start` on, with the notes of earlier runs on the same images.

    key: `images_key` and into how many micro-batches an iteration is split.
    """
    kept = _STREAMS.of(key)
    for iteration, batches in enumerate(make(start), start):
        notes = kept.setdefault(iteration, [{} for _ in batches] if _STREAMS.size < LIMIT else None)
        if notes is not None:
            before = size_of(notes)
            for batch, memo in zip(batches, notes, strict=True):
                batch.memo = memo
        yield batches
        if notes is not None:
            _STREAMS.size += size_of(notes) - before


def samples_key(recipe: Recipe, root: Root, split: str) -> Hashable:
    """What determines the images of a split as a network gets them."""
    return str(root.path), root.fingerprint, split, recipe.data.eval_short_side, recipe.data.max_side


def shared_samples(key: Hashable, samples: Iterable[M]) -> Iterator[M]:
    """Evaluation images with the notes of earlier runs on them; key: `samples_key`."""
    kept = _SAMPLES.of(key)
    for sample in samples:
        sample.memo = kept.setdefault(sample.id, {})
        yield sample


class _Kept:
    """Notes under the last few keys that were asked for."""

    def __init__(self, keys: int) -> None:
        self.keys, self.size = keys, 0
        self.notes: dict[Hashable, dict[int, Any]] = {}

    def of(self, key: Hashable) -> dict[int, Any]:
        if key not in self.notes:
            while len(self.notes) >= self.keys:
                self.notes.pop(next(iter(self.notes)))
                self.size = 0
            self.notes[key] = {}
        return self.notes[key]


_STREAMS, _SAMPLES = _Kept(1), _Kept(3)


def size_of(value: Any) -> int:
    """Bytes of all tensors in nested containers and dataclasses."""
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(size_of, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(size_of, value))
    if is_dataclass(value):
        return sum(size_of(getattr(value, field.name)) for field in fields(value))
    return 0
