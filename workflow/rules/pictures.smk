# Pictures of what SIM does: of its whole method (Table 3's last row), first seed only. Tables that show that
# run want them.
ILLUSTRATED = [run for seed, run in PLAN.row_runs("sim/3", "pseudo + paste").items() if seed == PLAN.seeds[0]]


def pictures_for(tables):
    """The pictures that belong into a report on these tables."""
    shown = PLAN.wanted(tables)
    return [f"{RESULTS}/runs/{run}/pictures/pictures.json" for run in ILLUSTRATED if run in shown]


rule pictures:
    input:
        f"{RESULTS}/runs/{{run}}/train.json",
        [
            f"{RESULTS}/data/{job.data}/stats.json"
            for job in PLAN.jobs
            if job.data and {*job.runs} & {*ILLUSTRATED}
        ],
    output:
        f"{RESULTS}/runs/{{run}}/pictures/pictures.json",
    log:
        f"{RESULTS}/logs/pictures/{{run}}.log",
    wildcard_constraints:
        run="|".join(ILLUSTRATED) or "none",
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=2000 if GENERATED else 16000,
        runtime=60,
    message:
        "Draw pictures of {wildcards.run}"
    shell:
        f"python -m wsis pictures {FLAGS} {{wildcards.run}} > {{log}} 2>&1"
