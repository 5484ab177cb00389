"""Python imports this as it starts, where this folder is on its path: it tells what it does with files."""

import os
import sys
from pathlib import Path

from tests.faults.operations import watch

if "FAULTS_TOLD" in os.environ:
    # python -m snakemake ..., python -m wsis train ...
    _, program, *words = [*sys.orig_argv[1:], "", ""]
    name = words[0] if program == "wsis" else program
    told = os.open(os.environ["FAULTS_TOLD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    watch(Path.cwd(), told, head=f"{os.getpid()}\t{name}\t")
