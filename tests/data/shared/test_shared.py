"""What the runs of a process share: batches with notes on them, equal to those of a plain stream."""

from itertools import islice

from tests.data.shared.streams import KINDS, assert_same, method_of, note, noted, plain, read, recipe
from wsis.data import shared
from wsis.data.loading import Shard, eval_samples, train_batches
from wsis.data.roots import open_root
from wsis.engine.step import batches


@KINDS
def test_from_whatever_iteration_on_the_batches_are_those_of_the_plain_stream(kind, place):
    row = recipe(kind)
    for start, count in [(5, 3), (0, 6), (5, 6), (20, 2), (3, 5), (0, 25)]:
        found = read(row, place, start, count)
        assert_same(found, plain(row, place, start, count))
        note(found, start)
    assert all(noted(read(row, place, 0, 25)))


@KINDS
def test_notes_are_those_of_the_same_images(kind, place):
    note(read(recipe(kind), place))
    found = read(recipe(kind), place, 2, 6)
    note(found, 2)
    assert noted(found) == [True] * 8 + [True] * 4


def test_a_run_that_trains_everything_shares_nothing(place):
    row = recipe(model__trained="all", init=None)
    note(read(row, place))
    found = read(row, place)
    assert not any(noted(found))
    assert_same(found, plain(row, place))


def test_several_processes_share_nothing_of_a_batch_that_they_split(place):
    row = recipe()
    root = open_root(row, place)
    for rank in (0, 1):
        found = list(islice(batches(method_of(row), root, None, Shard(0, rank, 2)), 3))
        assert_same(found, list(islice(train_batches(row, root, Shard(0, rank, 2)), 3)))
        assert not any(noted(found))
        note(found)


def test_images_of_a_split_are_shared_by_what_a_network_gets_of_them(place):
    row = recipe()

    def seen(row, split="val", root=place):
        opened = open_root(row, root)
        return list(shared.shared_samples(shared.samples_key(row, opened, split), eval_samples(row, opened)))

    for sample in seen(row):
        sample.memo["note"] = sample.id
    assert all(sample.memo == {"note": sample.id} for sample in seen(recipe(seed=5)))
    for other, split in [(row, "train"), (recipe(data__eval_short_side=48), "val")]:
        assert not any(sample.memo for sample in seen(other, split))
