"""`python -m wsis` and `wsis`: the command line. Ctrl-C ends it without a traceback, also while it loads."""

from __future__ import annotations

import sys


def main() -> None:
    try:
        from wsis.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
