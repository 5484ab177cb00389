"""Tables to paste: every number in LaTeX and Markdown, no line too wide for a page in two columns."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.report import fabricated
from wsis.plan import make_plan
from wsis.report.build import build_report
from wsis.report.paste.latex import tex_escape, to_tex
from wsis.report.paste.markdown import to_plain_markdown
from wsis.report.paste.numbers import VARIANTS
from wsis.report.recorded import Recorded
from wsis.report.view import signed

TABLES = [
    fabricated.threshold_table(),
    fabricated.systems_table(),
    fabricated.unrun_table("sim", "2"),
    fabricated.measures_table(),
]
PREAMBLE = r"\documentclass[twocolumn]{article}\usepackage{booktabs,siunitx,amssymb}\begin{document}"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("result", TABLES, ids=lambda result: result.table.key)
def test_a_variant_has_its_numbers(result, variant):
    for text in (to_tex(result, "tiny", variant), to_plain_markdown(result, "tiny", variant)):
        for cell in result.cells.values():
            if cell.n and variant in ("measured", "both"):
                assert f"{cell.mean:.1f}" in text
            if cell.published is not None and variant in ("published", "both"):
                assert f"{cell.published:.1f}" in text
            if cell.effect and cell.effect.mean is not None and variant == "effects":
                assert signed(cell.effect.mean, 1) in text
    assert ("n = 3" in text) == (variant != "published" and any(c.n for c in result.cells.values()))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("result", TABLES, ids=lambda result: result.table.key)
def test_tex_is_balanced_and_escaped(result, variant):
    """Braces, environments and math close; a panel's rows have as many columns as its head."""
    body = "\n".join(line for line in to_tex(result, "tiny", variant).splitlines() if line[:1] != "%")
    assert body.isascii()
    bare = re.sub(r"\\.", "", body)
    depth = 0
    for letter in bare:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0 and bare.count("$") % 2 == 0
    stack = []
    for kind, name in re.findall(r"\\(begin|end)\{([\w*]+)\}", body):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert not stack
    for panel in re.findall(r"\\toprule\n(.*?)\\bottomrule", body, re.DOTALL):
        rows = [line for line in panel.splitlines() if line.endswith(r"\\")]
        spans = [sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", row)) for row in rows]
        widths = [len(re.findall(r"(?<!\\)&", row)) + more for row, more in zip(rows, spans, strict=True)]
        assert len(set(widths)) == 1


def test_escapes_leave_no_markup():
    assert tex_escape("a_b & 50% #1 {x} $y$ ~ ^ \\") == (
        r"a\_b \& 50\% \#1 \{x\} \$y\$ \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
    assert tex_escape("AP₅₀") == "AP$_{50}$"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex (apt-get: texlive-science)")
def test_every_table_of_the_reference_fits_two_columns(tmp_path):
    """All variants of all tables with the committed numbers: no error, no overfull box, no float too high."""
    plan = make_plan("tiny")
    kept = Path(__file__).resolve().parents[2] / "results/reference/tiny/metrics.csv"
    report = build_report(plan, tmp_path, recorded=Recorded(kept, "tiny"))
    tables = [to_tex(result, "tiny", variant) for variant in VARIANTS for result in report.tables]
    assert len(tables) == len(VARIANTS) * len(plan.tables)
    body = "".join(text + r"\clearpage" * (i % 8 == 7) for i, text in enumerate(tables))
    (tmp_path / "all.tex").write_text(PREAMBLE + body + r"\end{document}", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    log = (tmp_path / "all.log").read_text(encoding="utf-8", errors="replace")
    assert not re.findall(r"^! .*", log, re.MULTILINE)
    assert not re.findall(r"Overfull \\hbox.*|.*Float too large.*", log)
