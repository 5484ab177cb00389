"""Two kinds of things in every batch, in a fixed ratio."""

from __future__ import annotations


def kind_at(t: int, place: int, size: int, ratio: tuple[int, int]) -> tuple[int, int]:
    """(kind, how many of that kind came before) of what is at a place of global batch t.

    Kinds 0 and 1 share the batch's `size` places as a : b, spread evenly over them. Shares that are no whole
    numbers alternate between batches, so that the ratio holds in the long run.
    """
    a, whole = ratio[0], sum(ratio)
    before, after = t * size * a // whole, (t + 1) * size * a // whole
    share = after - before  # of kind 0 in this batch
    first, second = place * share // size, (place + 1) * share // size
    return (0, before + first) if second > first else (1, (t * size - before) + place - first)
