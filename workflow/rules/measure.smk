# Measures of trained runs, of images and of networks, for the tables and figures that show them: one rule a process.
# Nothing is trained for it. A file that lacks a newer measure or row is made older than all, so that it is made again.
from wsis.measures.file import path_of
from wsis.measures.registry import sets
from wsis.measures.wanted import first_key, wanted

DEVICE = "" if GPUS else "--accelerator cpu "


def measured(name, keys):
    return [str(path_of(Path(RESULTS), name, key)) for key in keys]


def measures_for(tables):
    """The measurements that a report on these tables shows."""
    return [path for name, keys in wanted(PLAN, tables).items() for path in measured(name, keys)]


def drawn_by(figure):
    """The measurement that a figure shows."""
    return measured(figure.measure, [first_key(PLAN, figure.measure)])


for job in WORK.measurings:
    large = GPUS and sets()[job.set].network
    for path in map(Path, measured(job.set, job.keys) if workflow.is_main_process else []):
        if path.exists():
            os.utime(path, (1, 1))

    rule:
        name:
            f"measure_{job.id}"
        input:
            [f"{RESULTS}/runs/{id}/train.json" for id in job.needs],
            root_of(job.source) if job.source else DECLARED,
        output:
            measured(job.set, job.keys),
        log:
            f"{RESULTS}/logs/measures/{job.id}.log",
        priority: priority_of(job.rank, "measure")
        conda:
            "../../environment.yml"
        threads: 4 if large else 1
        resources:
            gpu=min(GPUS, 1) if large else 0,
            nodes=1,
            mem_mb=4000 if GENERATED else 24000,
            runtime=120,
        params:
            what=" ".join([job.set, *job.keys]),  # shell commands are read when `job` is another
        message:
            f"Measure {job.set} of {len(job.keys)}, {job.keys[0]}"
        shell:
            f"exec python -m wsis measure {FLAGS} {DEVICE}{{params.what}} > {{log}} 2>&1"
