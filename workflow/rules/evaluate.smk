# Metrics of predictions: several runs a process, since starting Python and its libraries takes longer than
# evaluating a small run. As in trainings, a job's output is a mark.
EVALUATIONS = {job.id: job for job in WORK.evaluations}
EVALUATED = {run: mark_of("evaluate", job.id) for job in WORK.evaluations for run in job.runs}


rule evaluate:
    input:
        lambda wildcards: [trained(run) for run in EVALUATIONS[wildcards.job].runs],
    output:
        touch(mark_of("evaluate", "{job}")),
    log:
        f"{RESULTS}/logs/evaluate/{{job}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluate/{{job}}.tsv"
    wildcard_constraints:
        job="|".join(EVALUATIONS) or "none",
    priority: lambda wildcards: priority_of(EVALUATIONS[wildcards.job].rank, "evaluate")
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=2000 if GENERATED else 16000,
        runtime=lambda wildcards, attempt: 30 * attempt,  # one that finished nothing before its limit fails
    params:
        step=lambda wildcards, threads: step(threads),
        runs=lambda wildcards: " ".join(EVALUATIONS[wildcards.job].runs),
    message:
        "Evaluate {wildcards.job}"
    shell:
        f"{KEEP_LOGS}exec {{params.step}} python -m wsis evaluate {FLAGS} {SINCE} {{params.runs}} > {{log}} 2>&1"
