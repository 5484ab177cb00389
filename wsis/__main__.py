"""`python -m wsis` is the command line `wsis`."""

from wsis.cli import main

main()
