"""The error that is meant for people: programs print its text alone, without a traceback, and exit with 1."""

import errno
import sys
from collections.abc import Callable


class CrayfishError(Exception):
    """What was wrong, where, what is allowed, what to do."""


def main(program: Callable[[], None]) -> None:
    """Run a script's main function; a CrayfishError or a full disk ends it with one message and exit status 1."""
    try:
        program()
    except CrayfishError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" while writing {error.filename}" if error.filename else ""
        sys.exit(f"error: the disk is full{where}: make room (or set TMPDIR to another disk) and run the command again")
