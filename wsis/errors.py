"""The one error that the command line shows without a traceback, and how it names what there is."""

from collections.abc import Iterable
from difflib import get_close_matches


class WsisError(Exception):
    """Something the user can mend: the message says what is wrong, where, and what to do."""


def nearest_first(name: str, there: Iterable[str]) -> str:
    """What there is, joined by commas: what is spelt like `name` first, then the others in their order."""
    names = list(there)
    return ", ".join(dict.fromkeys([*get_close_matches(name, names), *names]))
