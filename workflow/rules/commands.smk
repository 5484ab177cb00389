# Targets that make no file of the workflow: what there is, is shown or done.


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
        f"exec python -m wsis report {FLAGS} > {{log}} 2>&1"


rule plan:
    log:
        f"{RESULTS}/logs/plan.log",
    localrule: True
    conda:
        "../../environment.yml"
    message:
        f"What there is to run at {SCALE}"
    shell:
        f"python -m wsis plan {PLAN_FLAGS} 2>&1 | tee {{log}}"


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
