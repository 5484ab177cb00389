"""`wsis verify`: look through a results folder."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from wsis.options import RESULTS, JsonOption, ResultsOption

verify_app = typer.Typer()


@verify_app.command()
def verify(
    scale: Annotated[str | None, typer.Option("--scale", "-s", help="default: every scale")] = None,
    results: ResultsOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """What in a results folder is damaged, half written, foreign or stale, and the command that mends it.

    Every file is read. The exit code is 1 where something is damaged or foreign.
    """
    from dataclasses import asdict

    from wsis.results.verify import lines, verify_results

    findings = verify_results(results, scale)
    found = [asdict(finding) | {"path": str(finding.path)} for finding in findings]
    print(json.dumps(found, indent=1) if as_json else "\n".join(lines(findings)))
    if any(finding.kind in ("damaged", "foreign") for finding in findings):
        raise typer.Exit(1)
