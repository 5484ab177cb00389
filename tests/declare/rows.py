"""A row of the declared tables as it is resolved at a scale."""

from wsis.declare.resolve import resolve
from wsis.declare.scale import load_scale


def at(tables, table, label, scale="tiny", seed=1, overrides=None):
    declared = tables[table]
    return resolve(declared, declared.row(label), load_scale(scale), seed, overrides)
