# Boundary maps of BAISeg's runs, measured on contacts between objects of one class, interiors and texture edges,
# for tables with such `measures`: one rule for all that are measured together, since starting Python takes as
# long as measuring a run of it. Nothing is trained for it.
from functools import partial

from wsis.declare.table import BOUNDARY_MEASURES
from wsis.methods.baiseg.measures import boundary_runs


def boundaries_for(tables):
    """The measurements that a report on these tables shows."""
    return [f"{RESULTS}/boundary/{id}.json" for id in boundary_runs(PLAN, tables)]


for ids in measured_together(partial(boundary_runs, PLAN)):

    rule:
        name:
            f"boundary_quality_{ids[0]}"
        input:
            [f"{RESULTS}/runs/{id}/train.json" for id in ids],
            root_of(ids[0]),
        output:
            [f"{RESULTS}/boundary/{id}.json" for id in ids],
        log:
            f"{RESULTS}/logs/boundary/{ids[0]}.log",
        priority: priority_of(min((RANKS[run] for run in ids if run in RANKS), default=0), "measure")
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
            f"Measure the boundary maps of {len(ids)} run(s), {ids[0]}"
        shell:
            f"python -m wsis boundary-quality {FLAGS} {DEVICE}{{params.ids}} > {{log}} 2>&1"
