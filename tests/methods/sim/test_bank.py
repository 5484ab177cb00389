"""SIM's memory bank: order, memory, what enters it, and that a checkpoint continues the same draws."""

import io
from dataclasses import fields

import pytest
import torch

from wsis.data.structures import PADDING, Batch, Targets
from wsis.errors import WsisError
from wsis.methods.sim.bank import Bank, Entry, entries, pack, unpack
from wsis.methods.sim.spec import SimSpec

PAPER = SimSpec(aliases=False, composites=False)
UNTOUCHED = torch.tensor([False, False, False])


def entry(name: int, scores: list[float], size: tuple[int, int] = (5, 7)) -> Entry:
    """An entry of one colour, `name`, at stride 2, whose object k fills column k of the grid."""
    count = len(scores)
    masks = torch.zeros(count, *size, dtype=torch.bool)
    masks[range(count), :, range(count)] = True
    image = torch.full((3, 2 * size[0], 2 * size[1]), name, dtype=torch.uint8)
    boxes = torch.tensor([[2.0 * k, 0, 2.0 * k + 2, 2.0 * size[0]] for k in range(count)]).reshape(-1, 4)
    return Entry(image, boxes, torch.arange(count), pack(masks), torch.tensor(scores), size)


def names(bank: Bank) -> list[int]:
    return [int(e.image[0, 0, 0]) for e in bank.entries]


def scene() -> tuple[Batch, torch.Tensor, torch.Tensor]:
    """Three images of 20 x 30, 18 x 27 and 32 x 32 in a frame of 32 x 32, with 2, 0 and 1 objects."""
    g = torch.Generator().manual_seed(3)
    valid = torch.zeros(3, 32, 32, dtype=torch.bool)
    images = torch.tensor(PADDING, dtype=torch.uint8)[:, None, None].repeat(3, 1, 32, 32)
    for i, (h, w) in enumerate([(20, 30), (18, 27), (32, 32)]):
        valid[i, :h, :w] = True
        images[i, :, :h, :w] = torch.randint(0, 256, (3, h, w), generator=g, dtype=torch.uint8)
    boxes = torch.tensor([[1.0, 2, 9, 12], [10, 4, 20, 18], [3, 3, 30, 30]])
    labels = torch.tensor([2, 0, 1])
    targets = [Targets(boxes[a:b], labels[a:b]) for a, b in ((0, 2), (2, 2), (2, 3))]
    paste = torch.zeros(3, 8, 8, dtype=torch.bool)
    for k, (x0, y0, x1, y1) in enumerate([(0, 1, 2, 3), (3, 1, 5, 4), (1, 1, 7, 7)]):
        paste[k, y0:y1, x0:x1] = True
    return Batch(images, valid, torch.ones(3), targets, [5, 6, 7]), paste, torch.tensor([0.9, 0.8, 0.7])


def same(a: Entry, b: Entry) -> bool:
    pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in fields(Entry)]
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in pairs)


def test_first_in_first_out():
    bank = Bank(3)
    for name in range(5):
        assert bank.full == (name >= 3)
        bank.push(entry(name, [0.5]))
    assert names(bank) == [2, 3, 4]


def test_only_objects_with_a_score_and_a_mask_enter_and_images_without_any_do_not():
    bank = Bank(3)
    bank.push(entry(1, []))
    bank.push(entry(2, [0.0, 0.0]))
    bank.push(entry(3, [0.0, 0.6, float("nan"), 0.4]))
    assert names(bank) == [3] and not bank.full
    stored, whole = bank.entries[0], entry(3, [0.0, 0.6, 0.0, 0.4])
    assert stored.labels.tolist() == [1, 3] and torch.equal(stored.boxes, whole.boxes[[1, 3]])
    assert torch.equal(unpack(stored.masks, stored.size), unpack(whole.masks, whole.size)[[1, 3]])
    whole.masks[1] = 0
    bank.push(whole)
    assert bank.entries[1].labels.tolist() == [3]  # nor does an object without a mask


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8), (7, 9)])
@pytest.mark.parametrize("count", [0, 1, 4])
def test_packing_loses_nothing(size, count):
    masks = torch.rand(count, *size, generator=torch.Generator().manual_seed(0)) < 0.5
    packed = pack(masks)
    assert packed.shape == (count, -(-size[0] * size[1] // 8)) and packed.dtype == torch.uint8
    assert torch.equal(unpack(packed, size), masks)


def test_draws_are_even():
    bank, g = Bank(4), torch.Generator().manual_seed(0)
    for name in range(4):
        bank.push(entry(name, [0.5]))
    drawn = torch.tensor([int(bank.draw(g).image[0, 0, 0]) for _ in range(4000)])
    assert ((drawn.bincount() - 1000).abs() < 4.5 * (4000 * 3 / 16) ** 0.5).all()


def test_a_checkpoint_continues_the_same_draws():
    bank = Bank(3)
    for name in range(5):
        bank.push(entry(name, [0.5, 0.0, 0.3], (4 + name, 6)))
    file = io.BytesIO()
    torch.save(bank.state(), file)
    file.seek(0)
    loaded = Bank(3)
    loaded.load(torch.load(file, weights_only=True))
    g, h = (torch.Generator().manual_seed(7) for _ in range(2))
    for bank_ in (bank, loaded):
        assert bank_.full
    assert all(same(bank.draw(g), loaded.draw(h)) for _ in range(20))
    for bank_ in (bank, loaded):
        bank_.push(entry(9, [0.5]))
    assert names(bank) == names(loaded) == [3, 4, 9]


def test_a_shorter_bank_loads_the_newest_and_nonsense_is_refused():
    bank, short = Bank(3), Bank(2)
    for name in range(3):
        bank.push(entry(name, [0.5]))
    short.load(bank.state())
    assert names(short) == [1, 2]
    for state in ({}, {"entries": [{"image": torch.zeros(3, 2, 2)}]}, {"entries": [3]}, None):
        with pytest.raises(WsisError):
            short.load(state)
    assert names(short) == [1, 2]


def test_entries_hold_the_valid_part_and_what_belongs_to_the_image():
    batch, paste, scores = scene()
    first, last = entries(batch, paste, scores, UNTOUCHED, 4, PAPER)  # the second image has no object
    assert torch.equal(first.image, batch.images[0, :, :20, :30]) and first.size == (5, 8)
    assert torch.equal(last.image, batch.images[2]) and last.size == (8, 8)
    assert torch.equal(unpack(first.masks, first.size), paste[:2, :5])
    assert torch.equal(unpack(last.masks, last.size), paste[2:])
    assert torch.equal(first.boxes, batch.targets[0].boxes) and first.labels.tolist() == [2, 0]
    assert torch.equal(first.scores, scores[:2]) and torch.equal(last.scores, scores[2:])


def test_an_entry_does_not_change_with_the_batch_it_came_from():
    batch, paste, scores = scene()
    (first, _), (copy, _) = (entries(batch, paste, scores, UNTOUCHED, 4, PAPER) for _ in range(2))
    for tensor in (batch.images, batch.targets[0].boxes, batch.targets[0].labels, paste, scores):
        tensor.zero_()
    assert same(first, copy) and first.scores.min() > 0


def test_images_without_a_mask_to_paste_give_no_entry():
    batch, paste, scores = scene()
    assert entries(batch, paste, scores * 0, UNTOUCHED, 4, PAPER) == []
    assert [e.size for e in entries(batch, paste, scores * torch.tensor([0, 1, 0]), UNTOUCHED, 4, PAPER)] == [
        (5, 8)
    ]
    none = [Targets(t.boxes[:0], t.labels[:0]) for t in batch.targets]
    empty = Batch(batch.images, batch.valid, batch.scales, none, batch.ids)
    assert entries(empty, paste[:0], scores[:0], UNTOUCHED, 4, PAPER) == []


def test_composites_enter_only_where_the_recipe_says_so():
    batch, paste, scores = scene()
    touched = torch.tensor([True, False, False])
    assert [e.size for e in entries(batch, paste, scores, touched, 4, PAPER)] == [(8, 8)]
    released = SimSpec(aliases=False, composites=True)
    assert [e.size for e in entries(batch, paste, scores, touched, 4, released)] == [(5, 8), (8, 8)]


def test_aliases_every_entry_of_a_batch_is_its_last_image():
    """S13: half of the released bank's entries differ, at two images a device."""
    batch, paste, scores = scene()
    plain = entries(batch, paste, scores, UNTOUCHED, 4, PAPER)
    aliases = entries(batch, paste, scores, UNTOUCHED, 4, SimSpec(aliases=True, composites=True))
    assert len(aliases) == len(plain) == 2
    assert all(same(alias, plain[-1]) for alias in aliases)
    bank = Bank(4)
    for _ in range(2):
        for one in entries(batch, paste, scores, UNTOUCHED, 4, SimSpec(aliases=True, composites=True)):
            bank.push(one)
    assert len({e.image.data_ptr() for e in bank.entries}) == 2


def test_memory_is_bounded_at_paper_scale():
    """100 images of 800 x 1333 with 20 objects: below 3.6 MB each, of which masks take less than 5 %."""
    valid = torch.zeros(2, 800, 1344, dtype=torch.bool)
    valid[:, :, :1333] = True
    boxes = torch.tensor([[10.0, 10, 200, 200]]).repeat(20, 1)
    targets = [Targets(boxes, torch.zeros(20, dtype=torch.long)) for _ in range(2)]
    images = torch.zeros(2, 3, 800, 1344, dtype=torch.uint8)
    batch = Batch(images, valid, torch.ones(2), targets, [0, 1])
    paste = torch.ones(40, 200, 336, dtype=torch.bool)
    bank = Bank(100)
    for _ in range(52):  # two batches more than fit
        for one in entries(batch, paste, torch.ones(40), torch.tensor([False, False]), 4, PAPER):
            bank.push(one)

    def stored(name: str) -> int:
        storages = [getattr(e, name).untyped_storage() for e in bank.entries]
        return sum({s.data_ptr(): s.nbytes() for s in storages}.values())

    total = sum(stored(f.name) for f in fields(Entry) if f.name != "size")
    assert len(bank) == 100 and total < 100 * 3.6e6
    assert 100 * 20 * 200 * 334 / 8 <= stored("masks") < 0.05 * total
