"""All measures there are, as the methods declare them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from wsis.errors import WsisError
from wsis.measures.measure import Measure, MeasureSet
from wsis.methods import info_of, infos


def sets() -> dict[str, MeasureSet]:
    """Every set by its name, in the methods' order. WsisError where two share a name, or a measure's name."""
    return _declared(tuple(infos()))[0]


def set_of(metric: str) -> MeasureSet | None:
    """The set that finds a metric; None for what evaluation or training finds."""
    return _declared(tuple(infos()))[1].get(metric, (None, None))[0]


def measure_of(metric: str) -> Measure | None:
    """The measure of this name; None for what evaluation or training finds."""
    return _declared(tuple(infos()))[1].get(metric, (None, None))[1]


def names(ours: bool) -> list[str]:
    """Of all measures of ours, or of all that papers print."""
    return [measure.name for each in sets().values() for measure in each.measures if measure.ours == ours]


def is_ours(metric: str) -> bool:
    """True for a measure of ours, False for a column of a paper."""
    measure = measure_of(metric)
    return measure is not None and measure.ours


def is_exact(metric: str) -> bool:
    """True for a measure that no training decides, which has no noise over seeds."""
    its_set = set_of(metric)
    return its_set is not None and its_set.needs != "run"


def readable(metric: str) -> str:
    """A measure in words, 'pseudo masks: IoU at 0.5, overlapping'; any other metric as it is."""
    measure = measure_of(metric)
    return metric if measure is None else measure.words


def notes(metrics: Sequence[str]) -> str:
    """What the columns of ours among `metrics` are; '' for none."""
    ours = {metric for metric in metrics if is_ours(metric)}
    return " ".join(each.note for each in sets().values() if each.names & ours)


@cache
def _declared(
    methods: tuple[str, ...],
) -> tuple[dict[str, MeasureSet], dict[str, tuple[MeasureSet, Measure]]]:
    by_name: dict[str, MeasureSet] = {}
    by_measure: dict[str, tuple[MeasureSet, Measure]] = {}
    for method in methods:
        for each in info_of(method).measures:
            taken = [name for name in (each.name,) if name in by_name]
            taken += [measure.name for measure in each.measures if measure.name in by_measure]
            if taken:
                raise WsisError(f"method {method}: there already is a measure '{taken[0]}'")
            by_name[each.name] = each
            by_measure |= {measure.name: (each, measure) for measure in each.measures}
    return by_name, by_measure
