"""What the runs of one process compute once, because they read the same images in the same order.

Rows of a seed on one frozen base see the same batches. Readings of one network see the same images. Methods
write what holds for all of them as notes on the batch or the image (`wsis.data.structures.Memo`), and this
module keeps the notes for the next run. A batch depends on its iteration alone, a note on the batch and the
base's weights. A run without kept notes (a resumed one) therefore computes the same.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from itertools import count
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from wsis.data.roots import Root
from wsis.data.salient import SalientRoot
from wsis.data.structures import Memo
from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import SCALE_JITTER

LIMIT = 2**30  # bytes that a process keeps of batches with notes on them, and as many of notes on samples
GROUP = 16  # samples that a network may be given at a time, before it notes anything on the first
M = TypeVar("M", bound=Memo)
Make = Callable[[int], Iterator[list[M]]]  # iteration -> the stream of batches from there on


def images_key(recipe: Recipe, root: Root, salient: SalientRoot | None, cut: Hashable) -> Hashable:
    """What determines every training batch but its masks: the images, their boxes, how they are cut.

    Where jitter cuts objects, their boxes are those of what is left of their masks.

    cut: what the method adds to it (`wsis.methods.base.Method.cut`)
    """
    data = recipe.data.model_dump_json(exclude={"supervision"})
    # Instances that another network predicted bring their boxes along.
    instances = _proxies_digest(root) if recipe.proxy and recipe.proxy.instances else None
    roots = (str(root.path), root.fingerprint, None if salient is None else salient.fingerprint)
    boxes = masks_key(recipe, root) if recipe.data.augment == SCALE_JITTER else None
    return roots, data, recipe.seed, recipe.schedule.batch, cut, instances, boxes


def masks_key(recipe: Recipe, root: Root) -> Hashable:
    """What else determines the batches: their masks."""
    return recipe.data.supervision, _proxies_digest(root)


def _proxies_digest(root: Root) -> str | None:
    """Digest of the masks or objects that another network predicted: it may have been trained again."""
    if root.proxies is None:
        return None
    return hashlib.sha256(repr(sorted(root.proxies.items())).encode()).hexdigest()


def shared_stream(key: Hashable, masks: Hashable, start: int, make: Make) -> Iterator[list[M]]:
    """Batches from iteration `start` on, with the notes of earlier runs on the same images.

    key: `images_key`, and into how many micro-batches an iteration is split
    masks: `masks_key`; where it equals that of the run before, that run's batches are used again
    """
    kept, fresh, position = _STREAMS.of(key), None, None
    for iteration in count(start):
        entry = kept.get(iteration)
        if entry is None and _STREAMS.size < LIMIT:
            entry = kept[iteration] = _Entry()
        if entry is not None and entry.masks == masks:
            batches = entry.batches
        else:
            if position != iteration:
                fresh = make(iteration)
            batches = next(fresh)
            position = iteration + 1
            if entry is not None:
                for batch, memo in zip(batches, entry.notes or [{} for _ in batches], strict=True):
                    batch.memo = memo
                entry.masks, entry.batches, entry.notes = masks, batches, [batch.memo for batch in batches]
        yield batches
        if entry is not None and not entry.size:
            entry.size = size_of(entry.batches)
            _STREAMS.size += entry.size


def samples_key(recipe: Recipe, root: Root, split: str) -> Hashable:
    """What determines the images of a split as a network gets them."""
    fingerprints = root.fingerprint, root.eval_fingerprint
    return str(root.path), fingerprints, split, recipe.data.eval_short_side, recipe.data.max_side


def shared_samples(key: Hashable, samples: Iterable[M]) -> Iterator[M]:
    """Evaluation images with the notes of earlier runs on them; key: `samples_key`."""
    kept, behind = _SAMPLES.of(key), deque()
    for sample in samples:
        sample.memo = dict(kept.get(sample.id, {}))
        if _SAMPLES.size < LIMIT:
            kept[sample.id] = sample.memo
            behind.append((sample.memo, size_of(sample.memo)))
        if len(behind) > GROUP:
            memo, before = behind.popleft()
            _SAMPLES.size += size_of(memo) - before
        yield sample


@dataclass
class _Entry:
    """The batches of an iteration as they were last read, and what is noted of their images."""

    masks: Hashable = None
    batches: list[Any] = field(default_factory=list)
    notes: list[dict[Hashable, Any]] = field(default_factory=list)
    size: int = 0  # bytes of batches and notes


class _Kept:
    """Notes under the last few keys that were asked for."""

    def __init__(self, keys: int) -> None:
        self.keys, self.size = keys, 0
        self.notes: dict[Hashable, dict[int, Any]] = {}

    def of(self, key: Hashable) -> dict[int, Any]:
        if key not in self.notes:
            while len(self.notes) >= self.keys:
                self.notes.pop(next(iter(self.notes)))
                self.size = size_of(self.notes)
            self.notes[key] = {}
        return self.notes[key]


_STREAMS, _SAMPLES = _Kept(1), _Kept(3)


def size_of(value: Any) -> int:
    """Bytes of all tensors and arrays in nested containers and dataclasses."""
    if isinstance(value, Tensor | np.ndarray):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(size_of, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(size_of, value))
    if is_dataclass(value):
        return sum(size_of(getattr(value, field.name)) for field in fields(value))
    return 0
