"""Published against measured for machines (diff.json), and against a reference run (`wsis diff`)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from wsis.errors import WsisError
from wsis.files import read_json, write_json
from wsis.measures.registry import set_of
from wsis.report.model import VERDICTS, Report, TableResult


def make_diff(report: Report) -> dict[str, Any]:
    """The content of reports/<scale>/diff.json.

    {"scale", "seeds": [int], "claims": {verdict: count},
     "tables": [{"paper", "table", "protocol", "metrics": [str], "measures": [str: the metrics of ours],
       "rows": [{"label", "kind", "ours", "recipe": id of the first seed's run or null, "cells": {metric: {
         "published", "interval": [low, high], "mean", "std", "n", "difference", "reason", "stale"}}}],
       "trend": {"tau_b", "n", "metric", "best_published", "best_measured"} or null,
       "claims": [{"id", "text", "section", "kind", "metric", "verdict", "corrected", "p", "q", "published",
         "detail", "n", "edge", "decision": {"resolves", "seeds", "observed", "wanted", "hours", "command"} or
         null}]}]}
    "claims" counts corrected verdicts; a cell has an "effect" as well: {"mean", "interval", "n", "published",
    "same"} or null, and "undefined". Absent numbers are null.
    """
    counts = Counter(claim.final for result in report.tables for claim in result.claims)
    return {
        "scale": report.scale,
        "seeds": list(report.seeds),
        "claims": {verdict: counts[verdict] for verdict in VERDICTS},
        "tables": [_table(result) for result in report.tables],
    }


def write_diff(report: Report, path: Path) -> None:
    """Write `make_diff(report)` atomically; missing parent folders of `path` are created."""
    write_json(path, make_diff(report))


def _table(result: TableResult) -> dict[str, Any]:
    table = result.table
    return {
        "paper": table.paper,
        "table": table.table,
        "protocol": table.protocol,
        "metrics": list(table.metrics),
        "measures": list(table.measures),
        "rows": [_row(result, label) for label in table.labels],
        "trend": vars(result.trend).copy() if result.trend else None,
        "claims": [
            _fields(judged.claim, "id", "text", "section", "kind", "metric")
            | _fields(judged, "verdict", "published", "detail", "n", "edge")
            | {"corrected": judged.final, "p": judged.chance, "q": judged.q}
            | {"decision": vars(judged.decision).copy() if judged.decision else None}
            for judged in result.claims
        ],
    }


def _fields(item: object, *names: str) -> dict[str, Any]:
    """The named attributes of an object, in this order."""
    return {name: getattr(item, name) for name in names}


def _row(result: TableResult, label: str) -> dict[str, Any]:
    cells = {metric: result.cells[label, metric] for metric in result.table.metrics}
    runs = next((cell.runs for cell in cells.values() if cell.runs), {})
    row = result.table.row(label)
    return {
        "label": label,
        "kind": row.kind,
        "ours": row.ours,
        "recipe": runs[min(runs)] if runs else None,
        "cells": {
            metric: _fields(
                cell,
                "published",
                "interval",
                "mean",
                "std",
                "n",
                "difference",
                "reason",
                "stale",
                "undefined",
            )
            | {"effect": vars(cell.effect).copy() if cell.effect else None}
            for metric, cell in cells.items()
        },
    }


def write_claims(report: Report, path: Path) -> None:
    """Write claims.json, the verdicts that later runs are compared with.

    {"scale", "seeds", "claims": [{"table": '<paper>/<table>', "id", "verdict", "corrected",
    "edge", "detail"}]}
    """
    claims = [
        {"table": judged.table, "id": judged.claim.id}
        | {"verdict": judged.verdict, "corrected": judged.final}
        | _fields(judged, "edge", "detail")
        for result in report.tables
        for judged in result.claims
    ]
    content = {"scale": report.scale, "seeds": list(report.seeds), "claims": claims}
    write_json(path, content)


def read_reference(path: Path) -> dict[str, Any]:
    """A claims.json. Raises WsisError when it is absent or of another form."""
    content = read_json(path)
    if not isinstance(content, dict) or not {"scale", "claims"} <= content.keys():
        raise WsisError(f"{path}: not a reference: expected the keys scale, seeds and claims")
    return content


def compare(diff: dict[str, Any], reference: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Failures and notes: one line for each claim whose verdict differs from the reference's.

    diff: as `make_diff`; reference: as claims.json. Verdicts are compared, not digits; each as of its claim
    alone, since the corrected ones depend on how many others were run.

    - A verdict that differs is a failure. It is only a note where it is on the edge in either of the two:
      another CPU's rounding can tip such a verdict, as another seed can.
    - A claim that was not run is a note. It is skipped where no row of its table was run at all: tables share
      rows, so most targets train some rows of other tables. (Failed trainings show in the exit code.)
    - A reference without `edge` is an old one: none of its verdicts counts as on the edge.

    Raises WsisError when the two are of different scales.
    """
    if diff["scale"] != reference["scale"]:
        raise WsisError(f"the run is of scale {diff['scale']}, the reference of scale {reference['scale']}")
    tables = {f"{table['paper']}/{table['table']}": table for table in diff["tables"]}
    failures: list[str] = []
    notes: list[str] = []
    for old in reference["claims"]:
        if old["verdict"] == "not run":
            continue
        table = tables.get(old["table"], {"claims": [], "rows": []})
        new = next((claim for claim in table["claims"] if claim["id"] == old["id"]), None)
        decided, name = old["verdict"] != "inconclusive", f"{old['table']} {old['id']}"
        if new is None:
            (failures if decided else notes).append(f"{name}: no longer declared")
        elif new["verdict"] == old["verdict"] or (new["verdict"] == "not run" and not _was_run(table)):
            continue
        else:
            edges = [side for side, claim in (("was", old), ("is", new)) if claim.get("edge")]
            excused = new["verdict"] == "not run" or bool(edges)
            why = f"; it {' and '.join(edges)} on the edge" if edges else ""
            line = f"{name}: was {old['verdict']}, is {new['verdict']}{why} ({new['detail']})"
            (notes if excused else failures).append(line)
    return failures, notes


def on_edge(diff: dict[str, Any]) -> tuple[int, int]:
    """How many verdicts of a diff.json are on the edge, and how many there are without those not run."""
    judged = [c for table in diff["tables"] for c in table["claims"] if c["verdict"] != "not run"]
    return sum(bool(claim.get("edge")) for claim in judged), len(judged)


def _was_run(table: dict[str, Any]) -> bool:
    """True if any row of the table was trained. Measures that need no training don't count."""
    return any(
        cell["n"] for row in table["rows"] for metric, cell in row["cells"].items() if set_of(metric) is None
    )
