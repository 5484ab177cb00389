# The plan, and how the configuration reaches the command line. No rules here.
import json
import os
import shlex
import sys
import time

import yaml
from snakemake.exceptions import WorkflowError

from wsis.bench.overhead import record
from wsis.data.places import named_roots
from wsis.declare.load import ROOT as DECLARATIONS
from wsis.errors import WsisError
from wsis.plan import make_plan
from wsis.probe.pictures_job import without_ppc

STARTED = time.time()
KEYS = {"scale", "seeds", "data_root", "weights", "set", "gpus"}


def planned():
    """The plan that the configuration asks for."""
    if unknown := set(config) - KEYS:
        raise WorkflowError(
            f"unknown configuration: {', '.join(sorted(unknown))} (there are: {', '.join(sorted(KEYS))})"
        )
    try:
        return make_plan(config["scale"], seeds=SEEDS, overrides=OVERRIDES)
    except WsisError as error:
        raise WorkflowError(str(error)) from None


def user_root(dataset):
    """Input function of what reads the user's images: no file, but a root must be named before work starts."""

    def nothing(wildcards):
        if dataset not in named_roots(config["data_root"]) and not workflow.dryrun:
            raise WorkflowError(
                f"scale {SCALE} needs {dataset} images: --config scale={SCALE} data_root=PATH, or coco=PATH,voc=PATH,salient=PATH"
            )
        return []

    return nothing


def needs_salient(job):
    """Whether a job trains on salient images of the user's (BoxCaseg)."""
    recipes = [PLAN.runs[run].recipe for run in job.runs]
    return not job.data and any(recipe.data.supervision == "boxes+salient" for recipe in recipes)


def pictures_for(tables):
    """The pictures that belong into a report on these tables."""
    shown = PLAN.wanted(tables)
    return [f"{RESULTS}/runs/{run}/pictures/pictures.json" for run in ILLUSTRATED if run in shown]


def pictures_need(wildcards):
    """The trainings that pictures of a run show: its own, of the network that made its masks, of one beside it."""
    proxy, other = PLAN.runs[wildcards.run].recipe.proxy, without_ppc(PLAN, wildcards.run)
    runs = [wildcards.run, *([proxy.parent] if proxy else []), *([other] if other else [])]
    return [f"{RESULTS}/runs/{run}/train.json" for run in runs]


def seeds():
    """The seeds asked for: `seeds=11`, `seeds=[11,12]` or `seeds=11,12`; None for the scale's own."""
    given = config["seeds"]
    if given is None:
        return None
    words = given if isinstance(given, list) else str(given).split(",")
    try:
        return tuple(int(word) for word in words)
    except ValueError:
        raise WorkflowError(f"seeds={given}: expected whole numbers such as [11,12]") from None


def overrides():
    """Recipe keys for every run: `set`, and `weights` as a short form of one of them."""
    given = typed(config["set"] or {})
    if config["weights"] is not None:
        given["model.weights"] = config["weights"]
    return given


def typed(value):
    """What a configuration file would hold: Snakemake leaves text inside of --config's lists and mappings."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return yaml.safe_load(value) if isinstance(value, str) else value


def flags():
    """Command line options with which every command resolves the recipes of the plan here."""
    words = ["--scale", SCALE]
    for key, value in OVERRIDES.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    return quoted(words)


def root_flags():
    """The options of commands that read every seed's runs, or images."""
    words = ["--seeds", ",".join(map(str, SEEDS))] if SEEDS else []
    if config["data_root"] is not None:
        words += ["--data-root", str(config["data_root"])]
    return quoted(words)


def quoted(words):
    """Shell words with braces that Snakemake leaves alone."""
    return shlex.join(words).replace("{", "{{").replace("}", "}}")


SEEDS = seeds()
OVERRIDES = overrides()
PLAN = planned()
SCALE = PLAN.scale.name
GENERATED = PLAN.scale.data == "generated"
RESULTS = f"results/{SCALE}"
RECIPE_FLAGS = flags()
FLAGS = f"{RECIPE_FLAGS} {root_flags()}".strip()

# The interpreter that runs Snakemake runs its jobs, whether its environment is activated or not.
if not (workflow.deployment_settings and workflow.deployment_settings.deployment_method):
    shell.prefix(f'set -euo pipefail; export PATH={shlex.quote(os.path.dirname(sys.executable))}:"$PATH"; ')
