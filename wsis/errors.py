"""The one error that the command line shows without a traceback."""


class WsisError(Exception):
    """Something the user can mend: the message says what is wrong, where, and what to do."""
