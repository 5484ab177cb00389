"""What is kept of batches and images has a limit, whoever leaves it."""

from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from tests.data.shared.streams import assert_same, method_of, note, noted, plain, read, recipe
from wsis.data import shared
from wsis.data.loading import Shard
from wsis.data.roots import open_root
from wsis.data.structures import Memo, Sample
from wsis.engine.step import batches


@dataclass
class Note:
    values: torch.Tensor


def test_bytes_are_counted_through_everything_that_is_noted():
    three, five = torch.zeros(3), torch.zeros(5, dtype=torch.uint8)
    assert shared.size_of({"a": [three, (five, None, "text")], 2: Note(three)}) == 12 + 5 + 12
    assert shared.size_of([np.zeros((2, 3), np.float32)]) == 24
    kept = Memo()
    kept.once("key", lambda: [five])
    assert shared.size_of(kept) == 5


def test_a_process_keeps_no_more_than_the_limit_and_the_rest_is_the_same(place, monkeypatch):
    row, large = recipe(), torch.zeros(1000)
    one = sum(shared.size_of(batch) for batch in plain(row, place, 0, 1)[0])
    monkeypatch.setattr(shared, "LIMIT", 3 * (one + large.nbytes))
    for _ in range(2):
        for t, micros in enumerate(
            islice(batches(method_of(row), open_root(row, place), None, Shard(micro=2)), 8)
        ):
            assert_same([micros], plain(row, place, t, 1))
            micros[0].once("large", large.clone)
    kept = noted_large(read(row, place, 0, 8))
    assert kept == sorted(kept, reverse=True) and 3 <= sum(kept) <= 4, "some stay, the first ones"
    other = recipe(seed=1)
    note(read(other, place))
    assert all(noted(read(other, place, 0, 3))), "another stream takes the place of the first"


def noted_large(found):
    return ["large" in micros[0].memo for micros in found]


def test_notes_on_images_keep_to_the_limit_whoever_leaves_them(monkeypatch):
    """A group of them is given to a network at once, which notes something on the first."""
    note, images = np.zeros(1000, np.uint8), list(range(100))
    monkeypatch.setattr(shared, "LIMIT", 30 * len(note))

    def run(name, key="split"):
        found, group = [], []
        samples = shared.shared_samples(key, (Sample(torch.zeros(3, 2, 2), (2, 2), n) for n in images))
        for sample in samples:
            group.append(sample)
            if len(group) == 4 or sample.id == images[-1]:
                found += [s.memo.get(name) is not None for s in group]
                for s in group:
                    s.once(name, note.copy)
                group.clear()
        return found

    assert run("first") == [False] * 100
    kept = run("first")
    assert kept == sorted(kept, reverse=True) and 30 <= sum(kept) <= 30 + shared.GROUP + 4
    assert not any(run("second")) and run("first") == kept, "the others find no room, and take none"
    assert sum(run("second")) <= shared.GROUP
    assert run("first", "another split") == [False] * 100 and not any(run("first", "another split"))
