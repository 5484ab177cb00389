"""The one error that the command line shows without a traceback, and how it names what there is."""

from collections.abc import Iterable
from difflib import get_close_matches
from reprlib import Repr
from typing import Any


class WsisError(Exception):
    """Something the user can mend: the message says what is wrong, where, and what to do."""


def nearest_first(name: str, there: Iterable[str]) -> str:
    """What there is, joined by commas: what is spelt like `name` first, then the others in their order."""
    names = list(there)
    return ", ".join(dict.fromkeys([*get_close_matches(name, names), *names]))


class _Brief(Repr):
    def repr_int(self, x: int, level: int) -> str:
        """Python itself refuses to write out more than 4,300 digits."""
        return super().repr_int(x, level) if x.bit_length() < 128 else f"a number of {x.bit_length()} bits"


_BRIEF = _Brief()
_BRIEF.maxstring = _BRIEF.maxother = 80
_BRIEF.maxlevel = 2


def brief(value: Any) -> str:
    """A value of any type, size and depth as Python writes it, shortened to a piece of a line."""
    return _BRIEF.repr(value)


def shortened(text: str) -> str:
    """A text as a piece of a line: without its middle where it is long."""
    return text if len(text) <= 200 else f"{text[:90]} ... {text[-90:]}"


def one_line(text: str) -> str:
    """A message as a line of a terminal: what can't be printed, such as a newline in a name, is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
