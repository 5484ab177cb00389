# What needs no training: metrics of predictions (a rule a job of the plan, since starting Python and its
# libraries takes longer than evaluating a small run; as in trainings, without parameters), the costs of the
# papers' networks, and the colour affinity of ground-truth masks.
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
            f"python -m wsis evaluate {FLAGS} {RUNS} > {{log}} 2>&1"


rule complexity:
    input:
        [str(path) for path in sorted(DECLARATIONS.glob("baiseg/*.yaml"))],
    output:
        f"{RESULTS}/complexity.json",
    log:
        f"{RESULTS}/logs/complexity.log",
    priority: priority_of(0, "measure")
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    message:
        "Count operations and parameters of the papers' networks"
    shell:
        f"python -m wsis complexity --scale {SCALE} > {{log}} 2>&1"


rule affinity:
    input:
        [f"{RESULTS}/data/{root}/stats.json" for root in list(ROOTS)[:1]] or user_root("coco"),
    output:
        f"{RESULTS}/affinity.json",
    log:
        f"{RESULTS}/logs/affinity.log",
    priority: priority_of(0, "measure")
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=2000 if GENERATED else 16000,
        runtime=60,
    message:
        "Measure the colour affinity of ground-truth masks"
    shell:
        f"python -m wsis affinity {FLAGS} > {{log}} 2>&1"
