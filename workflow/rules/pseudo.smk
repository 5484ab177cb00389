# Quality of SIM's pseudo masks: one rule a warm-up, which measures every row that continues it. Nothing of
# those rows is trained for it. Tables with `measures` want the files of the warm-ups of their rows.
from wsis.methods.sim.measures import warmups

WARMUPS = warmups(PLAN)
DEVICE = "" if GPUS else "--accelerator cpu "


def pseudo_for(tables):
    """The measurements that a report on these tables shows."""
    shown = {run for key in tables if PLAN.tables[key].measures for run in PLAN.wanted([key])}
    return [f"{RESULTS}/pseudo/{id}.json" for id, rows in WARMUPS.items() if shown & {*rows}]


for id, rows in WARMUPS.items():

    rule:
        name:
            f"pseudo_{id}"
        input:
            f"{RESULTS}/runs/{id}/train.json",
            root_of(id),
        output:
            f"{RESULTS}/pseudo/{id}.json",
        log:
            f"{RESULTS}/logs/pseudo/{id}.log",
        priority: priority_of(min((RANKS[run] for run in rows if run in RANKS), default=0), "measure")
        conda:
            "../../environment.yml"
        threads: 4 if GPUS else 1
        resources:
            gpu=min(GPUS, 1),
            nodes=1,
            mem_mb=4000 if GENERATED else 24000,
            runtime=120,
        params:
            id=id,
            runs=rows,  # a new row makes it again
        message:
            f"Measure the pseudo masks of {len(rows)} row(s) at their warm-up {id}"
        shell:
            f"python -m wsis pseudo {FLAGS} {DEVICE}{{params.id}} > {{log}} 2>&1"
