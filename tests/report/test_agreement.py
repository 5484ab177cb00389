"""The scatter of effects has every row that has both effects once, and its words count them."""

from __future__ import annotations

import re

from tests.report import fabricated
from wsis.report.agreement import agreement_plot, words
from wsis.report.effects import Agreement, agreements


def test_every_row_with_both_effects_is_there_once():
    report = fabricated.report()
    rows = agreements(report)
    meant = []
    for result in report.tables:
        metric = result.trend.metric if result.trend else result.table.columns[0]
        reference = result.table.reference_of("")
        base = result.cells.get((reference, metric))
        for label in result.table.labels:
            cell = result.cells[label, metric]
            if label != reference and base and cell.difference is not None and base.difference is not None:
                meant.append((result.table.paper, round(cell.published - base.published, 6)))
    assert meant and [(row.paper, round(row.published, 6)) for row in rows] == meant
    report.tables[0].cells["τ = 0", "AP"].effect.same = True
    assert len(agreements(report)) == len(rows) - 1


def test_the_words_count_the_signs_of_rows_outside_the_noise():
    rows = [
        Agreement("boxinst", 2.0, 1.0, (0.5, 1.5)),
        Agreement("boxinst", 2.0, -1.0, (-1.5, -0.5)),
        Agreement("sim", 2.0, 1.0, (-0.5, 1.5)),
        Agreement("sim", 2.0, 1.0, None),
        Agreement("sim", 0.0, 1.0, (0.5, 1.5)),  # nothing in print, so no sign
    ]
    assert words(rows).startswith("5 rows")
    assert words(rows).endswith("Of the others, 1 of 2 have the published sign.")
    plot = agreement_plot(rows, "tiny")
    assert plot.png.startswith(b"\x89PNG") and "measured at scale tiny" in plot.svg
    assert {"BoxInst", "SIM"} == {*re.findall(r"BoxInst|SIM|BoxCaseg|BAISeg", plot.svg)}
    assert "href" in plot.svg and len(plot.svg) < 100_000
    assert agreement_plot([], "tiny") is None
