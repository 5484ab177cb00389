"""`python -m wsis` is the command line `wsis`."""

from wsis.cli import app

app(prog_name="wsis")
