# One rule a job of the plan: a process that trains its runs one after another and predicts with each.
#
# There are no parameters: the path of a run's output holds its id, which stands for everything that determines
# it, so that neither edited code nor a moved data root nor another grouping of the runs trains anything again.
# Of a run's files only train.json, its last, is declared: Snakemake deletes what is declared before a job starts
# again, and a new row in a family must not cost the weights of the others. The trainer skips what is finished
# and writes its train.json again.
#
# Snakemake lowers `gpu` to its limit without a word. The trainer gets what is left of it and keeps the
# recipe's batch by accumulating gradients; the deviation shows under the table.
GPUS = 0 if GENERATED else config["gpus"]
DEVICES = "--devices {resources.gpu} " if GPUS else "--accelerator cpu "
LOGGER = f"--logger {config['logger']} " if config["logger"] else ""

for job in WORK.trainings:
    hours = sum(PLAN.runs[run].device_hours for run in job.runs)

    rule:
        name:
            f"train_{job.id}"
        input:
            [f"{RESULTS}/runs/{run}/train.json" for run in job.needs],
            [f"{RESULTS}/data/{job.data}/stats.json"]
            if job.data
            else user_root(PLAN.runs[job.runs[0]].recipe.data.dataset),
            user_root("salient") if needs_salient(job) else [],
            ancient(sorted({VERDICTS[run] for run in job.runs if run in VERDICTS})),  # mended ground truth trains nothing
        output:
            [f"{RESULTS}/runs/{run}/train.json" for run in job.runs],
        log:
            f"{RESULTS}/logs/train/{job.id}.log",
        priority: priority_of(job.rank, "train")
        conda:
            "../../environment.yml"
        threads: 4 * GPUS or 1
        resources:
            gpu=GPUS,
            nodes=1,
            mem_mb=16000 + 8000 * GPUS if GPUS else 4000,
            runtime=60 + round(90 * hours / max(GPUS, 1)),  # minutes: half as much again as planned
        message:
            f"Train {len(job.runs)} run(s), {job.id}; watch {RESULTS}/logs/train/{job.id}.log"
        shell:
            f"exec python -m wsis train {FLAGS} {DEVICES}{LOGGER}{ONLY}--cores {{threads}} {RUNS} > {{log}} 2>&1"
