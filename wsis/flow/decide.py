"""What would decide a claim: seeds, their cost and the command, for the terminal and for machines."""

from __future__ import annotations

import json
from difflib import get_close_matches
from pathlib import Path

from wsis.errors import WsisError
from wsis.plan import Plan
from wsis.report.build import build_report
from wsis.report.markup import decided
from wsis.report.model import ClaimResult, Report
from wsis.report.recorded import Recorded


def show_decision(plan: Plan, results: Path, name: str, as_json: bool = False) -> None:
    """Print what is known of a claim and what would decide it. Raises WsisError for a name of no claim."""
    report, source = known(plan, results)
    claim = named(report, name)
    if as_json:
        print(json.dumps(decision_as_json(claim, source), indent=1))
        return
    print(f"{claim.table} {claim.claim.id}: {claim.claim.text}")
    alone = f" (alone: {claim.verdict})" if claim.verdict != claim.final else ""
    print(f"{claim.final}{alone}, by {source}\n{claim.detail}")
    if claim.decision:
        print(decided(claim.decision))
        if claim.decision.command:
            print(claim.decision.command)
    elif claim.final == "inconclusive":
        print("no test: it wants two seeds at least")


def decision_as_json(claim: ClaimResult, source: str) -> dict[str, object]:
    """The claim, its verdicts, and its decision or null."""
    decision = vars(claim.decision) if claim.decision else None
    return {
        "table": claim.table,
        "id": claim.claim.id,
        "verdict": claim.verdict,
        "corrected": claim.final,
        "source": source,
        "decision": decision,
    }


def known(plan: Plan, results: Path) -> tuple[Report, str]:
    """The report on what was run, else on the reference run, and which of the two it is."""
    scale = plan.scale.name
    if any((results / scale / "runs").glob("*/metrics.json")):
        return build_report(plan, results), f"the runs in {results / scale}"
    path = results / "reference" / scale / "metrics.csv"
    if not path.exists():
        raise WsisError(f"{results / scale}: nothing was run yet, so nothing is known of the noise")
    return build_report(plan, path.parent.parent, recorded=Recorded(path, scale)), "the reference run"


def named(report: Report, name: str) -> ClaimResult:
    """The claim of a name: '<paper>/<table> <id>', or its id where one table alone has it."""
    claims = {f"{c.table} {c.claim.id}": c for result in report.tables for c in result.claims}
    hits = [claim for key, claim in claims.items() if name in (key, claim.claim.id)]
    if len(hits) == 1:
        return hits[0]
    if hits:
        tables = ", ".join(f"'{claim.table} {name}'" for claim in hits)
        raise WsisError(f"claim {name} is in several tables: {tables}")
    there = [*claims, *dict.fromkeys(claim.claim.id for claim in claims.values())]
    near = ", ".join(get_close_matches(name, there, n=4, cutoff=0.3)) or "none"
    raise WsisError(f"no claim '{name}'; the nearest: {near} (the report lists all)")
