# The plan, and how the configuration reaches the command line. No rules here.
import json
import os
import shlex
import signal
import sys
import time
from pathlib import Path

from snakemake.cli import parse_args
from snakemake.exceptions import WorkflowError

from wsis.bench.calibrate import known_unit
from wsis.bench.overhead import record
from wsis.configuration import complete, known, overrides, predict_only, seeds
from wsis.data.places import named_roots, shapes_root
from wsis.declare.load import ROOT as DECLARATIONS
from wsis.declare.measured import measured_costs
from wsis.errors import WsisError
from wsis.judge import compare, groups, verdict_file
from wsis.packing import table_ranks
from wsis.flow.picture_jobs import illustrated, runs_shown
from wsis.plan import make_plan
from wsis.flow.work import HEADLINE, JOBS, mark, read_work, tables_of, targets, unmark, work, write_work

STARTED = time.time()

# Snakemake takes braces in a path of the workflow for wildcards, and can't be told otherwise.
if {*"{}"} & {*str(DECLARATIONS), *str(workflow.basedir)}:
    raise WorkflowError(
        f"{workflow.basedir}: Snakemake can't run a workflow whose path holds braces: rename that folder"
    )


def planned():
    """The plan that the configuration asks for."""
    complete(config)
    try:
        known(config)
        return make_plan(
            config["scale"],
            seeds=seeds(config),
            overrides=overrides(config),
            unit=known_unit(Path("results")),
            measured=measured_costs(Path("results"), config["scale"], config["costs"]),
        )
    except WsisError as error:
        raise WorkflowError(str(error)) from None


def arguments():
    """Snakemake's own arguments, None where it is no command: they are not in `workflow` yet when this is read."""
    program = Path(sys.argv[0])
    if program.stem != "snakemake" and program.parent.name != "snakemake":
        return None
    return parse_args(sys.argv[1:])[1]


def wanted_work():
    """The work that the requested targets still need; a job's own process reads what the workflow began with.

    Where a rule is forced, everything that is finished has its job as well.
    """
    if not workflow.is_main_process:
        return read_work(Path(RESULTS))
    given = arguments()
    names = ["all"] if given is None else given.targets or [HEADLINE]
    anew = given is not None and bool(given.force or given.forceall or given.forcerun)
    tables = tables_of(PLAN, names)
    if given is not None and not given.dryrun:
        same_roots(tables)
        if config["nodes"] > 1 and given.executor != "slurm":
            raise WorkflowError(f"nodes={config['nodes']} needs Slurm; docs/cluster.md says how")
    found = work(PLAN, tables, Path("results"), workflow.resource_settings.cores or 1, anew)
    unmark(found, Path(RESULTS), Path(f"reports/{SCALE}/index.html"))
    try:
        return found.on(PLAN, GPUS, config["nodes"])
    except WsisError as error:
        raise WorkflowError(str(error)) from None


def same_roots(tables):
    """Refuse roots that are missing, or others than the results of these tables were made of."""
    try:
        compare(
            PLAN, PLAN.with_needed(PLAN.wanted(tables)), Path("results"), config["data_root"], PREDICT_ONLY
        )
    except WsisError as error:
        raise WorkflowError(str(error)) from None


def trained(run):
    """The file that says that a run is trained: its job's mark, or what an earlier workflow left."""
    return TRAINED.get(run) or f"{RESULTS}/runs/{run}/train.json"


def train_needs(wildcards):
    """What a job reads: runs that it starts from, images, and verdicts on the user's."""
    job = TRAININGS[wildcards.job]
    needs = [trained(run) for run in job.needs]
    needs += user_root("salient")(wildcards) if needs_salient(job) else []
    needs += sorted({VERDICTS[run] for run in job.runs if run in VERDICTS})
    images = root_of(job.runs[0])
    return needs + (images(wildcards) if callable(images) else images)


def evaluated(run):
    """The file that says that a run's metrics are there: its job's mark, or what an earlier workflow left."""
    return EVALUATED.get(run) or f"{RESULTS}/runs/{run}/metrics.json"


def shown_by(target):
    """Every file that the report shows of a target's tables; where nothing is evaluated, that they are predicted."""
    tables = TARGETS[target]
    if PREDICT_ONLY:
        return sorted({trained(run) for run in PLAN.wanted(tables)})
    drawn = [figure for figure in load_figures().values() if target == f"figure{figure.figure}"]
    return [
        *sorted({*map(evaluated, PLAN.wanted(tables))}),
        *measures_for(tables),
        *map(drawn_by, drawn),
        *pictures_for(tables),
    ]


def rendered(target):
    """The marks of a target's tables, or of a figure; none where nothing is evaluated."""
    marks = [f"{RESULTS}/rendered/{target_of(key)}" for key in TARGETS[target]]
    return [] if PREDICT_ONLY else marks or f"{RESULTS}/rendered/{target}"


def page(paper, name, suffix, category):
    """A file of the report, which is written anew in its place."""
    path = f"reports/{SCALE}/{paper}/{name}.{suffix}"
    return report(update(path), category=category, labels={"paper": paper, "name": name})


def measured(name, key):
    """The file that says that a key is measured: its job's mark, or what an earlier workflow left."""
    return MEASURED.get((name, key)) or str(path_of(Path(RESULTS), name, key))


def measures_for(tables):
    """The measurements that a report on these tables shows."""
    return [measured(name, key) for name, keys in wanted(PLAN, tables).items() for key in keys]


def drawn_by(figure):
    """The measurement that a figure shows."""
    return measured(figure.measure, first_key(PLAN, figure.measure))


def measure_needs(wildcards):
    """What a job measures: trained runs, and the images of one; else what is declared."""
    job = MEASURINGS[wildcards.job]
    images = root_of(job.source) if job.source else DECLARED
    return [*map(trained, job.needs), *(images(wildcards) if callable(images) else images)]


def priority_of(rank, stage):
    """Jobs of earlier tables first, and within a table the stages' order, so that tables are complete early."""
    return len(STAGES) * (len(WORK.tables) - rank) + STAGES.index(stage)


def mark_of(kind, job):
    """The output of a job: train, evaluate or measure."""
    return str(mark(Path(RESULTS), kind, job))


def step(threads, cards=0):
    """What makes a command a step of its Slurm job where it is none: in the first task of an array.

    Slurm gives notice of a time limit to steps alone. The executor makes a step of every other job.
    """
    share = f"--ntasks=1 --nodes=1 --cpus-per-task={threads}" + (f" --gpus={cards}" if cards else "")
    return f'$([ -z "${{SLURM_ARRAY_TASK_ID:-}}" ] || [ -n "${{SLURM_STEP_ID:-}}" ] || echo srun {share})'


def train_command(nodes, cards, threads):
    """The beginning of a training's command; on several machines a task of a Slurm step for each card."""
    if nodes > 1:
        tasks = (
            f"--nodes={nodes} --ntasks={cards} --ntasks-per-node={cards // nodes} --cpus-per-task={threads}"
        )
        ends = (
            "--kill-on-bad-exit=1 --wait=600"  # a task that is left alone would wait for the others for ever
        )
        return f"exec srun {tasks} {ends} python -m wsis train --threads {threads}"
    devices = f"--devices {cards}" if cards else "--accelerator cpu"
    return f"exec {step(threads, cards)} python -m wsis train --cores {threads} {devices}"


def target_of(key):
    """The target of a table: boxinst_1a of boxinst/1a."""
    paper, _, table = key.partition("/")
    return f"{paper}_{table}"


def user_root(dataset):
    """Input function of what reads the user's images: no file, but a root must be named before work starts."""

    def nothing(wildcards):
        if dataset not in named_roots(config["data_root"]) and not workflow.dryrun:
            raise WorkflowError(
                f"scale {SCALE} needs {dataset} images: --config scale={SCALE} data_root=PATH, or coco=PATH,voc=PATH,salient=PATH"
            )
        return []

    return nothing


def root_of(run):
    """Input of what reads the images of a run: its generated root, or a function that asks for the user's."""
    recipe = PLAN.runs[run].recipe
    root = shapes_root(recipe)
    return [f"{RESULTS}/data/{root}/stats.json"] if root else user_root(recipe.data.dataset)


def needs_salient(job):
    """Whether a job trains on salient images of the user's (BoxCaseg)."""
    recipes = [PLAN.runs[run].recipe for run in job.runs]
    return not job.data and any(recipe.data.supervision == "boxes+salient" for recipe in recipes)


def pictures_for(tables):
    """The pictures that belong into a report on these tables."""
    shown = PLAN.wanted(tables)
    return [f"{RESULTS}/runs/{run}/pictures" for run in ILLUSTRATED if run in shown]


def pictures_need(wildcards):
    """The trainings that pictures of a run show."""
    return [trained(run) for run in runs_shown(PLAN, wildcards.run)]


def flags():
    """Command line options with which every command resolves the recipes of the plan here."""
    words = ["--scale", SCALE]
    for key, value in OVERRIDES.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    return quoted(words)


def seed_flags():
    """The option of commands that read every seed's runs."""
    return quoted(["--seeds", ",".join(map(str, SEEDS))] if SEEDS else [])


def root_flags():
    """The option of commands that read images."""
    given = config["data_root"]
    if given is None:
        return ""
    return quoted(["--data-root", given if isinstance(given, str) else json.dumps(given)])


def quoted(words):
    """Shell words with braces that Snakemake leaves alone."""
    return shlex.join(words).replace("{", "{{").replace("}", "}}")


PLAN = planned()
PREDICT_ONLY = predict_only(config)
SEEDS = PLAN.seeds if PLAN.asked else None
OVERRIDES = PLAN.overrides
SCALE = PLAN.scale.name
DECLARED = [str(path) for path in sorted(DECLARATIONS.glob("*/*.yaml"))]
GENERATED = PLAN.scale.data == "generated"
RESULTS = f"results/{SCALE}"
GPUS = 0 if GENERATED else config["gpus"]
WORK = wanted_work()
RANKS = table_ranks(PLAN, WORK.tables)  # run -> position of the first wanted table that needs it
STAGES = ["draw pictures", "measure", "evaluate", "train", "data", "render"]  # the last is the most urgent
RECIPE_FLAGS = flags()
ONLY = "--predict-only " if PREDICT_ONLY else ""
LOGGER = f"--logger {config['logger']} " if config["logger"] else ""
PLAN_FLAGS = f"{RECIPE_FLAGS} {seed_flags()}".strip()
FLAGS = f"{PLAN_FLAGS} {root_flags()}".strip()

# In front of a command that writes {log}: Snakemake deletes a log before a job starts again, and so every attempt
# writes a file of its own, X.log.1, X.log.2, ..., of which X.log is a link to the last.
KEEP_LOGS = 'n=1; while [ -e {log}.$n ]; do n=$((n+1)); done; ln -sf "$(basename {log}).$n" {log}; '

# What an attempt of a job finished stays where its time limit cuts it; the workflow's start wrote this file.
SINCE = f"--since {RESULTS}/{JOBS}"

# Reports are written one at a time. A limit of the workflow's own, which no profile or command line forgets.
workflow.register_resource("report", 1)


# Slurm gives notice of a job's time limit to all of the job's processes; our command alone answers.
if not workflow.is_main_process:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)

# A command that writes results is the shell's last, with `exec`: the job is then not over before its process is,
# whoever ends it, and a trainer that writes its checkpoint is waited for.

# The interpreter that runs Snakemake runs its jobs, whether its environment is activated or not.
if not (workflow.deployment_settings and workflow.deployment_settings.deployment_method):
    shell.prefix(f'set -euo pipefail; export PATH={shlex.quote(os.path.dirname(sys.executable))}:"$PATH"; ')
