"""What docs/ takes from the code and from the reference run: commands.md, picture.png. Run by: make docs

`python docs/make.py labels` runs the example of labels.md, two trainings of a minute, and draws its pictures.
"""

import csv
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

from wsis.report.style import GRID, INK, MEASURED, MUTED, PUBLISHED, drawing, to_png

DOCS = Path(__file__).resolve().parent
REFERENCE = DOCS.parent / "results" / "reference" / "tiny"
PAPERS = {"boxinst": "BoxInst", "sim": "SIM", "boxcaseg": "BoxCaseg", "baiseg": "BAISeg"}
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
    """A sweep of the reference run beside the paper's, and the verdicts on all four papers' claims."""
    published, measured = {}, defaultdict(list)
    with (REFERENCE / "metrics.csv").open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            where, (name, _, value) = (
                (line["paper"], line["table"], line["metric"]),
                line["row"].partition(" = "),
            )
            if where == ("boxinst", "1a", "AP") and name == "tau":
                tau = float(value)
                published[tau] = float(line["published"])
                measured[tau].append(float(line["value"]))
    claims = json.loads((REFERENCE / "claims.json").read_text(encoding="utf-8"))["claims"]
    counts = {
        paper: Counter(c["corrected"] for c in claims if c["table"].startswith(f"{paper}/"))
        for paper in PAPERS
    }
    with drawing(10.5, 3.0, 1, 3) as (canvas, (left, middle, right)):
        left.plot(list(published), list(published.values()), "o-", color=PUBLISHED, mfc="white", mew=1.8)
        left.set_title("BoxInst, Table 1a: published", color=PUBLISHED)
        means = [sum(values) / len(values) for values in measured.values()]
        middle.plot(list(measured), means, "o-", color=MEASURED)
        for tau, values in measured.items():
            middle.plot([tau] * len(values), values, "_", color=MEASURED, ms=12)
        middle.set_title("measured at scale tiny, 3 seeds", color=MEASURED)
        for axis in (left, middle):
            axis.set(xlabel="colour similarity threshold tau", ylim=(-2, 35), xticks=list(published))
        left.set_ylabel("mask AP")
        for height, paper in enumerate(reversed(PAPERS)):
            start = 0
            for verdict, colour in VERDICTS.items():
                count = counts[paper][verdict]
                right.barh(height, count, left=start, color=colour, height=0.6)
                inside = count > 2  # else the bar is too small for its number
                place = start + count / 2 if inside else start + count + 1
                ink = "white" if inside and colour != GRID else INK
                right.text(place, height, str(count), ha="center", va="center", color=ink, size=9)
                start += count
        right.set_yticks(range(len(PAPERS)), [PAPERS[paper] for paper in reversed(PAPERS)])
        right.tick_params(axis="y", length=0)
        right.grid(False)
        right.spines["left"].set_visible(False)
        right.set_title("verdicts on the papers' claims")
        for rank, (verdict, colour) in enumerate(VERDICTS.items()):
            right.text(
                0.36 * rank, -0.1, verdict, transform=right.transAxes, size=9,
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
