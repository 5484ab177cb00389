# The plan, and how the configuration reaches the command line. No rules here.
import os
import shlex
import sys
import time

from snakemake.exceptions import WorkflowError

from wsis.bench.overhead import record
from wsis.declare.load import ROOT as DECLARATIONS
from wsis.errors import WsisError
from wsis.plan import make_plan

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


def require_data_root():
    """Say at the start, not in the first training, that a scale without generated data needs a root."""
    if not GENERATED and config["data_root"] is None:
        raise WorkflowError(
            f"scale {SCALE} needs images: --config scale={SCALE} data_root=PATH (a COCO-layout root)"
        )


def flags():
    """The options that every command gets, so that it resolves the same recipes as the plan here."""
    words = ["--scale", SCALE]
    if SEEDS:
        words += ["--seeds", ",".join(map(str, SEEDS))]
    for key, value in OVERRIDES.items():
        words += ["--set", f"{key}={value}"]
    if config["data_root"] is not None:
        words += ["--data-root", str(config["data_root"])]
    return shlex.join(words).replace("{", "{{").replace("}", "}}")


SEEDS = tuple(config["seeds"]) if config["seeds"] is not None else None
OVERRIDES = dict(config["set"]) | ({} if config["weights"] is None else {"model.weights": config["weights"]})
PLAN = planned()
SCALE = PLAN.scale.name
GENERATED = PLAN.scale.data == "generated"
RESULTS = f"results/{SCALE}"
FLAGS = flags()

# The interpreter that runs Snakemake runs its jobs, whether its environment is activated or not.
if not (workflow.deployment_settings and workflow.deployment_settings.deployment_method):
    shell.prefix(f'export PATH={shlex.quote(os.path.dirname(sys.executable))}:"$PATH"; ')
