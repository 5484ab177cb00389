# Metrics of predictions: a rule a job of the plan, since starting Python and its libraries takes longer than
# evaluating a small run; as in trainings, without parameters.
for job in WORK.evaluations:

    rule:
        name:
            f"evaluate_{job.id}"
        input:
            [f"{RESULTS}/runs/{run}/train.json" for run in job.runs],
        output:
            [f"{RESULTS}/runs/{run}/metrics.json" for run in job.runs],
        log:
            f"{RESULTS}/logs/evaluate/{job.id}.log",
        priority: priority_of(job.rank, "evaluate")
        conda:
            "../../environment.yml"
        threads: 1
        resources:
            mem_mb=2000 if GENERATED else 16000,
            runtime=30,
        message:
            f"Evaluate {len(job.runs)} run(s), {job.id}"
        shell:
            f"exec python -m wsis evaluate {FLAGS} {RUNS} > {{log}} 2>&1"
