# Measures of trained runs, of images and of networks, for the tables and figures that show them: a rule for those
# that run a network, on a card where there is one, and one for the others. Nothing is trained for them.
from wsis.measures.file import path_of
from wsis.measures.registry import sets
from wsis.measures.wanted import first_key, wanted

MEASURINGS = {job.id: job for job in WORK.measurings}
MEASURED = {(job.set, key): mark_of("measure", job.id) for job in WORK.measurings for key in job.keys}


for network in {bool(sets()[job.set].network) for job in WORK.measurings}:

    rule:
        name:
            "measure_network" if network else "measure"
        input:
            measure_needs,
        output:
            touch(mark_of("measure", "{job}")),
        log:
            f"{RESULTS}/logs/measures/{{job}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/measures/{{job}}.tsv"
        wildcard_constraints:
            job="|".join(id for id, job in MEASURINGS.items() if bool(sets()[job.set].network) == network),
        priority: lambda wildcards: priority_of(MEASURINGS[wildcards.job].rank, "measure")
        conda:
            "../../environment.yml"
        threads: 4 if network and GPUS else 1
        resources:
            gpu=min(GPUS, 1) if network else 0,
            nodes=1,
            mem_mb=4000 if GENERATED else 24000,
            runtime=lambda wildcards, attempt: 120 * attempt,  # one that finished nothing before its limit fails
        params:
            step=lambda wildcards, resources, threads: step(threads, resources.gpu),
            device="" if GPUS else "--accelerator cpu",
            what=lambda wildcards: " ".join([MEASURINGS[wildcards.job].set, *MEASURINGS[wildcards.job].keys]),
        message:
            "Measure {wildcards.job}"
        shell:
            f"{KEEP_LOGS}exec {{params.step}} python -m wsis measure {FLAGS} {SINCE} {{params.device}} {{params.what}} > {{log}} 2>&1"
