# The targets. Each is a set of wanted tables. The report is one a scale and shows every table with
# whatever results there are. It is written as soon as a table is complete, hence a rule `render_<table>` each, whose
# output is a mark; what was shown already is not shown again. A target names the metrics itself as well, because
# Snakemake makes a missing file again only where it is asked for.
from wsis.declare.load import load_figures
from wsis.work import figures

TARGETS = targets(PLAN)


def shown_by(target):
    """Every file that the report shows of a target's tables; where nothing is evaluated, that they are predicted."""
    tables = TARGETS[target]
    if PREDICT_ONLY:
        return [f"{RESULTS}/runs/{run}/train.json" for run in PLAN.wanted(tables)]
    drawn = [figure for figure in load_figures().values() if target == f"figure{figure.figure}"]
    return [
        *[f"{RESULTS}/runs/{run}/metrics.json" for run in PLAN.wanted(tables)],
        *measures_for(tables),
        *[path for figure in drawn for path in drawn_by(figure)],
        *pictures_for(tables),
    ]


def rendered(target):
    """The marks of a target's tables, or of a figure; none where nothing is evaluated."""
    if PREDICT_ONLY:
        return []
    return [
        f"{RESULTS}/rendered/{target_of(key)}" for key in TARGETS[target]
    ] or f"{RESULTS}/rendered/{target}"


for target in [*figures(PLAN), *map(target_of, PLAN.tables)]:

    rule:
        name:
            f"render_{target}"
        input:
            shown_by(target),
            DECLARED,
        output:
            touch(f"{RESULTS}/rendered/{target}"),
        log:
            f"{RESULTS}/logs/report-{target}.log",
        priority: 0 if SCALE == "smoke" else priority_of(0, "render")  # nobody waits for smoke's numbers
        localrule: True
        conda:
            "../../environment.yml"
        resources:
            report=1,
        message:
            f"Render reports/{SCALE}/index.html"
        shell:
            f"exec python -m wsis report {FLAGS} --if-changed > {{log}} 2>&1"


for target, tables in TARGETS.items():

    rule:
        name:
            target
        input:
            shown_by(target),
            rendered(target),
        localrule: True
