# A rule a class of trainings: jobs that ask for the same time and cards (wsis/flow/classes.py), so that a profile can
# send each kind to a partition of its own, and Slurm's arrays can take them. A job is a process that trains its
# runs one after another and predicts with each.
#
# A job's output is a mark, and what runs write is nobody's output: Snakemake deletes outputs before a job starts
# again, and neither another grouping of the runs nor a new row in a family must cost what is finished. The plan
# decides what is to be trained: a run's id stands for everything that determines it.
#
# Snakemake lowers `gpu` to its limit without a word. The trainer gets what is left of it and keeps the
# recipe's batch by accumulating gradients; the deviation shows under the table.
TRAININGS = {job.id: job for job in WORK.trainings}
TRAINED = {run: mark_of("train", job.id) for job in WORK.trainings for run in job.runs}


for each in WORK.classes:
    # On several machines a task for each card, which the command itself starts (`mpi` to the executor).
    tasks = {"mpi": "srun", "tasks": each.cards, "tasks_per_gpu": 1} if each.nodes > 1 else {}

    rule:
        name:
            f"train_{each.name}"
        input:
            train_needs,
        output:
            touch(mark_of("train", "{job}")),
        log:
            f"{RESULTS}/logs/train/{{job}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/train/{{job}}.tsv"
        wildcard_constraints:
            job="|".join(each.jobs),
        priority: lambda wildcards: priority_of(TRAININGS[wildcards.job].rank, "train")
        conda:
            "../../environment.yml"
        threads: 4 if tasks else 4 * each.cards or 1
        resources:
            **tasks,
            gpu=each.cards,
            nodes=each.nodes,
            mem_mb=16000 + 8000 * each.cards // each.nodes if GPUS else 4000,  # of a machine
            runtime=each.minutes,
        params:
            runs=lambda wildcards: " ".join(TRAININGS[wildcards.job].runs),
            train=lambda wildcards, resources, threads: train_command(resources.nodes, resources.gpu, threads),
        message:
            f"Train {{wildcards.job}}; watch {RESULTS}/logs/train/{{wildcards.job}}.log"
        shell:
            f"{KEEP_LOGS}{{params.train}} {FLAGS} {LOGGER}{ONLY}{{params.runs}} > {{log}} 2>&1"
