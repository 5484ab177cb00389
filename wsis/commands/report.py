"""`wsis collect`, `wsis report`, `wsis diff`: from results to tables, and against the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsis.errors import WsisError
from wsis.options import (
    REPORTS,
    RESULTS,
    ReportsOption,
    ResultsOption,
    RootOption,
    ScaleOption,
    SeedsOption,
    SetOption,
    planned,
)

report_app = typer.Typer()


@report_app.command()
def collect(
    scale: ScaleOption = "tiny",
    seeds: SeedsOption = None,
    set_: SetOption = None,
    results: ResultsOption = RESULTS,
) -> None:
    """All metrics.json of a scale -> results/<scale>/metrics.csv.

    What is damaged, out of range or another run's is left out and named; the exit code is then 1.
    """
    from wsis.checksums import seal
    from wsis.report.build import build_report
    from wsis.report.collect import write_metrics

    report = build_report(planned(scale, seeds, set_), results)
    path = results / scale / "metrics.csv"
    print(f"{write_metrics(report, path)} values in {path}")
    seal(path)
    if report.refused:
        raise WsisError("left out: " + "; ".join(f"{name}: {text}" for name, text in report.refused.items()))


@report_app.command()
def report(
    scale: ScaleOption = "tiny",
    seeds: SeedsOption = None,
    set_: SetOption = None,
    data_root: RootOption = None,
    results: ResultsOption = RESULTS,
    reports: ReportsOption = REPORTS,
    reference: Annotated[
        bool,
        typer.Option(help="make its complete tables the reference: results/ and reports/reference/<scale>"),
    ] = False,
    recorded: Annotated[
        bool, typer.Option(help="render results/reference/<scale> alone, without its runs")
    ] = False,
    if_changed: Annotated[bool, typer.Option(help="only if there is something that it doesn't show")] = False,
) -> None:
    """Tables, plots, claims and errata of a scale -> reports/<scale>/; half-finished results are fine.

    Writes results/<scale>/metrics.csv as well.
    """
    if recorded:
        from wsis.flow.reference import render_reference

        print(render_reference(scale, results, reports))
        return
    from wsis.report.rendered import alone, note_shown, shown, signature

    folder, page = results / scale, reports / scale / "index.html"
    with alone(folder):
        now = signature(folder, [seeds, set_, data_root])
        if not (if_changed and shown(folder, page, now)):
            from wsis.flow.jobs import write_report

            write_report(planned(scale, seeds, set_), results, reports, data_root, reference)
            note_shown(folder, now)
    print(page)


@report_app.command()
def diff(
    scale: ScaleOption = "tiny",
    strict: Annotated[
        bool,
        typer.Option(help="exit 1 when a verdict is another than the reference's and neither is on the edge"),
    ] = False,
    reference: Annotated[Path | None, typer.Option(help="default: results/reference/<scale>")] = None,
    reports: ReportsOption = REPORTS,
) -> None:
    """Measured against published, and the claims' verdicts against the reference run's.

    Verdicts are compared, not digits. One that is on the edge in either run (it would be another without one
    of the seeds, or two standard errors away) is only noted where it differs, as is one that was not
    run in a table of which something was.
    """
    from wsis.flow.show import show_diff

    differing = show_diff(
        reports / scale / "diff.json", (reference or RESULTS / "reference" / scale) / "claims.json"
    )
    if strict and differing:
        raise typer.Exit(1)
