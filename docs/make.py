"""What docs/ takes from the code and from the reference run: commands.md, picture.png. Run by: make docs

`python docs/make.py labels` runs the example of labels.md, two trainings of a minute, and draws its pictures.
"""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from wsis.plan import make_plan
from wsis.report.agreement import draw_agreement
from wsis.report.build import build_report
from wsis.report.effects import agreements
from wsis.report.recorded import Recorded
from wsis.report.style import GRID, INK, MEASURED, MUTED, PUBLISHED, drawing, to_png
from wsis.report.view import PAPER_TITLES

DOCS = Path(__file__).resolve().parent
REFERENCE = DOCS.parent / "results" / "reference" / "tiny"
VERDICTS = {"reproduced": MEASURED, "inconclusive": GRID, "contradicted": PUBLISHED}
ABOUT = "Made from the code by `make docs`. `<scale>` is `smoke`, `tiny`, `mini` or `paper`."


def commands() -> str:
    """The command reference: every command's help, with a list of links on top."""
    command = [
        sys.executable,
        "-m",
        "typer",
        "wsis.cli",
        "utils",
        "docs",
        "--name",
        "wsis",
        "--title",
        "Commands",
    ]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    text = (
        text.replace("&#x27;", "'")
        .replace("&quot;", '"')
        .replace("# Commands\n", f"# Commands\n\n{ABOUT}\n", 1)
    )
    title = ""
    lines = []
    for line in text.splitlines():
        if heading := re.match(r"#+ `(wsis .+)`", line):
            title = heading[1]
        if entry := re.match(
            r"\* `([a-z][a-z-]*)`: ", line
        ):  # a command of a list; its help is cut off there
            name = f"{title} {entry[1]}" if title else f"wsis {entry[1]}"
            line = f"* [`{name}`](#{name.replace(' ', '-')})"
        lines.append(line)
    return "\n".join(lines).rstrip() + "\n"


def picture() -> bytes:
    """Published against measured effects of the reference run, and the verdicts on the papers' claims."""
    recorded = Recorded(REFERENCE / "metrics.csv", "tiny")
    report = build_report(make_plan("tiny"), REFERENCE.parent, recorded=recorded)
    claims = [claim for result in report.tables for claim in result.claims]
    with drawing(10.5, 4.4, 1, 2) as (canvas, (left, right)):
        draw_agreement(left, agreements(report))
        left.set_ylabel("measured at scale tiny, points")
        for height, paper in enumerate(reversed(PAPER_TITLES)):
            counts, start = Counter(c.final for c in claims if c.table.startswith(f"{paper}/")), 0
            for verdict, colour in VERDICTS.items():
                count = counts[verdict]
                right.barh(height, count, left=start, color=colour, height=0.5)
                inside = count > 2  # else the bar is too small for its number
                place = start + count / 2 if inside else start + count + 1
                ink = "white" if inside and colour != GRID else INK
                right.text(place, height, str(count), ha="center", va="center", color=ink, size=9)
                start += count
        right.set_yticks(range(len(PAPER_TITLES)), [*reversed(PAPER_TITLES.values())])
        right.tick_params(axis="y", length=0)
        right.grid(False)
        right.spines["left"].set_visible(False)
        right.set_title("verdicts on the papers' claims")
        for rank, (verdict, colour) in enumerate(VERDICTS.items()):
            right.text(
                0.3 * rank, -0.06, verdict, transform=right.transAxes, size=9,
                color=MUTED if colour == GRID else colour, weight="bold",
            )  # fmt: skip
        right.set_xticks([])
        right.spines["bottom"].set_visible(False)
        return to_png(canvas)


if __name__ == "__main__":
    if sys.argv[1:] == ["labels"]:
        import labels

        sys.exit(labels.pictures())
    (DOCS / "commands.md").write_text(commands(), encoding="utf-8")
    (DOCS / "picture.png").write_bytes(picture())
