"""The template environment of the report: autoescaping, and the few filters that its pages need."""

from __future__ import annotations

import base64
import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from wsis.measures.registry import readable
from wsis.report.model import Decision
from wsis.report.power import MOST

NONE = "\N{EN DASH}"  # stands where there is no value
_COMMAND = re.compile(
    r"^(?P<before>(?:trained with .+?; )?not run: )(?P<command>.+?)(?P<after> \(~?[^()]*\))?$", re.DOTALL
)


@cache
def templates() -> Environment:
    """Jinja environment over `wsis/report/site/`; every value is escaped, an unknown name is an error."""
    environment = Environment(
        loader=PackageLoader("wsis.report", "site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        code=mark_command, decided=decided, duration=duration, amount=amount, plain=plain, readable=readable
    )
    return environment


def mark_command(reason: str) -> Markup:
    """'not run: CMD (~cost)' with CMD as code; any other reason as plain text."""
    if not (match := _COMMAND.match(reason)):
        return escape(reason)
    return Markup("{}<code>{}</code>{}").format(match["before"], match["command"], match["after"] or "")


def decided(decision: Decision) -> str:
    """What would decide an inconclusive claim, in a sentence or two."""
    n, wanted = decision.n, decision.wanted
    text = f"{n} seeds resolve {decision.resolves:.2g}."
    if decision.seeds is None:
        text += " The published effect can't be told from the margin."
    elif decision.seeds <= n:
        text += " That is less than the published effect: if there is one here, it is smaller."
    else:
        text += f" The published effect wants {decision.seeds} seeds."
    if wanted is not None and wanted != decision.seeds:
        text += f" The measured effect wants {wanted}."
    if decision.hours is not None:
        text += f" {wanted - n} more seeds take {duration(decision.hours * 3600)}."
    elif decision.seeds is None or decision.seeds <= n:
        text += f" Not decided by {MOST} seeds of the measured effect."
    return text


def duration(seconds: float | None) -> str:
    """'12 s', '3 min 20 s' or '5 h 02 min'; a dash for None."""
    if seconds is None:
        return NONE
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def amount(size: float | None) -> str:
    """Bytes as '312 MB' or '4.1 GB'; a dash for None."""
    if size is None:
        return NONE
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def plain(value: Any) -> str:
    """A provenance value as words: lists with commas, dictionaries as 'key value'."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def data_uri(content: bytes, kind: str) -> str:
    """`content` as a data URI of media type `kind` ('image/jpeg')."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
