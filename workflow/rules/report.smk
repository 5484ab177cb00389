# The targets. Each is a set of wanted tables. The report is one a scale and shows every table with whatever results
# there are. It is written as soon as a table or a figure is complete, each of which leaves a mark; what was shown
# already is not shown again. A target names its results itself as well, because Snakemake makes a missing file again
# only where it is asked for. `snakemake --report` shows the tables, the figures and the pictures.
from wsis.declare.load import load_figures
from wsis.flow.work import figures

TARGETS = targets(PLAN)


# The command leaves what it showed before as it is, hence `touch`.
RENDER = f"touch -c {{output}} && exec python -m wsis report {FLAGS} --if-changed > {{log}} 2>&1"
SOON = 0 if SCALE == "smoke" else priority_of(0, "render")  # nobody waits for smoke's numbers


rule render:
    input:
        lambda wildcards: shown_by(f"{wildcards.paper}_{wildcards.table}"),
        DECLARED,
    output:
        touch(f"{RESULTS}/rendered/{{paper}}_{{table}}"),
        page("{paper}", "table{table}", "html", "Tables"),
    log:
        f"{RESULTS}/logs/report-{{paper}}_{{table}}.log",
    wildcard_constraints:
        paper="|".join({table.paper for table in PLAN.tables.values()}),
        table="|".join({table.table for table in PLAN.tables.values()}),
    priority: SOON
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        report=1,
    message:
        f"Render {{wildcards.paper}}/{{wildcards.table}} in reports/{SCALE}/index.html"
    shell:
        RENDER


for figure in load_figures().values():

    rule:
        name:
            f"render_figure{figure.figure}"
        input:
            shown_by(f"figure{figure.figure}"),
            DECLARED,
        output:
            touch(f"{RESULTS}/rendered/figure{figure.figure}"),
            page(figure.paper, f"figure{figure.figure}", "png", "Figures"),
        log:
            f"{RESULTS}/logs/report-figure{figure.figure}.log",
        priority: SOON
        localrule: True
        conda:
            "../../environment.yml"
        resources:
            report=1,
        message:
            f"Render figure{figure.figure} in reports/{SCALE}/index.html"
        shell:
            RENDER


for target, tables in TARGETS.items():

    rule:
        name:
            target
        input:
            shown_by(target),
            rendered(target),
        localrule: True
