"""The error that is meant for people: programs print its text alone, without a traceback, and exit with 1."""

import sys
from collections.abc import Callable


class CrayfishError(Exception):
    """What was wrong, where, what is allowed, what to do."""


def main(program: Callable[[], None]) -> None:
    """Run a script's main function; a CrayfishError ends it with one message and exit status 1."""
    try:
        program()
    except CrayfishError as error:
        sys.exit(f"error: {error}")
