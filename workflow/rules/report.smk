# The targets. Each is a set of wanted tables. The report is one a scale and shows every table with
# whatever results there are, so that a target decides only what has to be there before it is rendered.
# Hence a rule `render_<target>` each, whose output is a mark, so that several targets can be asked for at
# once; a target names the metrics itself as well, because Snakemake makes a missing file again only where it
# is asked for.
from wsis.declare.table import COST_MEASURES

TARGETS = {
    "headline": [key for key, table in PLAN.tables.items() if table.headline],
    "all": list(PLAN.tables),
    "figure4": [],
}
for key, table in PLAN.tables.items():
    TARGETS.setdefault(table.paper, []).append(key)
    TARGETS[f"{table.paper}_{table.table}"] = [key]

MEASURED = {key for key, table in PLAN.tables.items() if "prop" in table.columns}
COUNTED = {key for key, table in PLAN.tables.items() if {"GFLOPs", *COST_MEASURES} & {*table.metrics}}

for target, tables in TARGETS.items():
    wanted = [f"{RESULTS}/runs/{run}/metrics.json" for run in PLAN.wanted(tables)]
    if target == "figure4" or MEASURED & set(tables):
        wanted.append(f"{RESULTS}/affinity.json")
    if COUNTED & set(tables):
        wanted.append(f"{RESULTS}/complexity.json")
    wanted += pseudo_for(tables)
    wanted += proxies_for(tables)
    wanted += boundaries_for(tables)
    wanted += pictures_for(tables)

    rule:
        name:
            f"render_{target}"
        input:
            wanted,
            [str(path) for path in sorted(DECLARATIONS.glob("*/*.yaml"))],
        output:
            touch(f"{RESULTS}/rendered/{target}"),
        log:
            f"{RESULTS}/logs/report-{target}.log",
        localrule: True
        conda:
            "../../environment.yml"
        message:
            f"Render reports/{SCALE}/index.html"
        shell:
            f"(python -m wsis collect {FLAGS} && python -m wsis report {FLAGS}) > {{log}} 2>&1"

    rule:
        name:
            target
        input:
            wanted,
            getattr(rules, f"render_{target}").output,
        localrule: True


# Whatever there is, now: for a workflow that goes on, or in which a job failed.
rule report:
    log:
        f"{RESULTS}/logs/report.log",
    localrule: True
    conda:
        "../../environment.yml"
    message:
        f"Render what there is to reports/{SCALE}/index.html"
    shell:
        f"(python -m wsis collect {FLAGS} && python -m wsis report {FLAGS}) > {{log}} 2>&1"


rule plan:
    log:
        f"{RESULTS}/logs/plan.log",
    localrule: True
    conda:
        "../../environment.yml"
    message:
        f"What there is to run at {SCALE}"
    shell:
        f"python -m wsis plan {FLAGS} 2>&1 | tee {{log}}"


# A workflow of its own: everything at the smoke scale.
rule smoke:
    log:
        f"{RESULTS}/logs/smoke.log",
    localrule: True
    conda:
        "../../environment.yml"
    threads: 64  # as many as there are: Snakemake lowers it to --cores
    params:
        snakefile=workflow.main_snakefile,
    message:
        "Run everything at the smoke scale"
    shell:
        "snakemake --snakefile {params.snakefile} --cores {threads} --config scale=smoke -- all 2>&1 | tee {log}"
