"""How jobs end: by a signal before a time limit, by a failure, by the death of the process above them."""

import re
from pathlib import Path

import yaml

from wsis.signals import SIGNALS

WORKFLOW = Path(__file__).resolve().parents[2] / "workflow"


def test_a_job_s_command_takes_the_place_of_its_shell():
    """A shell dies of a signal at once; the job would be over while its trainer writes a checkpoint."""
    commands = 0
    for path in WORKFLOW.glob("rules/*.smk"):
        for line in path.read_text().splitlines():
            if re.search(r'"[^"]*python -m wsis', line) and "| tee" not in line:
                assert re.search(r"exec (srun .*|\{.*step.*\} )?python -m wsis", line), (
                    f"{path.name}: {line.strip()}"
                )
                commands += 1
    assert commands > 6


def test_slurm_gives_notice_of_a_limit_by_a_signal_that_trainings_know_and_queues_again():
    profile = yaml.safe_load((WORKFLOW / "profiles" / "slurm" / "profile.yaml").read_text())
    name, seconds = re.search(r"--signal=(\w+)@(\d+)", profile["default-resources"]["slurm_extra"]).groups()
    assert f"SIG{name}" in [number.name for number in SIGNALS] and int(seconds) >= 120
    assert profile["slurm-requeue"] and profile["retries"] > 0
