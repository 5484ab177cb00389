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
from wsis.configuration import known, overrides, predict_only, seeds
from wsis.data.places import named_roots, shapes_root
from wsis.declare.load import ROOT as DECLARATIONS
from wsis.errors import WsisError
from wsis.judge import compare, groups, verdict_file
from wsis.packing import table_ranks
from wsis.picture_jobs import illustrated, runs_shown
from wsis.plan import make_plan
from wsis.work import HEADLINE, read_work, tables_of, targets, work, write_work

STARTED = time.time()


def planned():
    """The plan that the configuration asks for."""
    try:
        known(config)
        return make_plan(
            config["scale"],
            seeds=seeds(config),
            overrides=overrides(config),
            unit=known_unit(Path("results")),
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
    return work(PLAN, tables, Path("results"), workflow.resource_settings.cores or 1, anew)


def same_roots(tables):
    """Refuse roots that are missing, or others than the results of these tables were made of."""
    try:
        compare(
            PLAN, PLAN.with_needed(PLAN.wanted(tables)), Path("results"), config["data_root"], PREDICT_ONLY
        )
    except WsisError as error:
        raise WorkflowError(str(error)) from None


def priority_of(rank, stage):
    """Jobs of earlier tables first, and within a table the stages' order, so that tables are complete early."""
    return len(STAGES) * (len(WORK.tables) - rank) + STAGES.index(stage)


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
    return [f"{RESULTS}/runs/{run}/pictures/pictures.json" for run in ILLUSTRATED if run in shown]


def pictures_need(wildcards):
    """The trainings that pictures of a run show."""
    return [f"{RESULTS}/runs/{run}/train.json" for run in runs_shown(PLAN, wildcards.run)]


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
WORK = wanted_work()
RANKS = table_ranks(PLAN, WORK.tables)  # run -> position of the first wanted table that needs it
STAGES = ["draw pictures", "measure", "evaluate", "train", "data", "render"]  # the last is the most urgent
RUNS = "$(basename -a $(dirname {output}))"  # in a shell command: ids of the runs whose files are its outputs
RECIPE_FLAGS = flags()
ONLY = "--predict-only " if PREDICT_ONLY else ""
PLAN_FLAGS = f"{RECIPE_FLAGS} {seed_flags()}".strip()
FLAGS = f"{PLAN_FLAGS} {root_flags()}".strip()

# Reports are written one at a time. A limit of the workflow's own, which no profile or command line forgets.
workflow.register_resource("report", 1)


# Slurm gives notice of a job's time limit to all of the job's processes; the trainer alone answers.
if not workflow.is_main_process:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)

# A command that writes results is the shell's last, with `exec`: the job is then not over before its process is,
# whoever ends it, and a trainer that writes its checkpoint is waited for.

# The interpreter that runs Snakemake runs its jobs, whether its environment is activated or not.
if not (workflow.deployment_settings and workflow.deployment_settings.deployment_method):
    shell.prefix(f'set -euo pipefail; export PATH={shlex.quote(os.path.dirname(sys.executable))}:"$PATH"; ')
