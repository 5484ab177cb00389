# Boundary maps of BAISeg's runs, measured on contacts between objects of one class, interiors and texture edges,
# for tables with such `measures`: one rule a job of the plan, since starting Python takes as long as measuring a
# run of it. Nothing is trained for it.
from wsis.declare.table import BOUNDARY_MEASURES
from wsis.probe.boundary_job import boundary_runs


def boundaries_for(tables):
    """The measurements that a report on these tables shows."""
    return [f"{RESULTS}/boundary/{id}.json" for id in boundary_runs(PLAN, tables)]


for job in PLAN.jobs:
    if not (ids := [run for run in boundary_runs(PLAN, PLAN.tables) if run in job.runs]):
        continue

    rule:
        name:
            f"boundary_quality_{job.id}"
        input:
            [f"{RESULTS}/runs/{id}/train.json" for id in ids],
            [f"{RESULTS}/data/{job.data}/stats.json"]
            if job.data
            else user_root(PLAN.runs[ids[0]].recipe.data.dataset),
        output:
            [f"{RESULTS}/boundary/{id}.json" for id in ids],
        log:
            f"{RESULTS}/logs/boundary/{job.id}.log",
        conda:
            "../../environment.yml"
        threads: 4 if GPUS else 1
        resources:
            gpu=min(GPUS, 1),
            nodes=1,
            mem_mb=4000 if GENERATED else 24000,
            runtime=120,
        params:
            ids=" ".join(ids),
            measures=BOUNDARY_MEASURES,  # a new one makes it again
        message:
            f"Measure the boundary maps of {len(ids)} run(s), {job.id}"
        shell:
            f"python -m wsis boundary-quality {FLAGS} {DEVICE}{{params.ids}} > {{log}} 2>&1"
