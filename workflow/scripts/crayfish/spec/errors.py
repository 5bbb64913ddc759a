"""The error that is meant for people: programs print its text alone, without a traceback, and exit with 1."""

import errno
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

FULL_BYTES = 1_000_000  # with less a disk counts as full: whoever failed may have left a little
NOT_MADE = 75  # EX_TEMPFAIL of sysexits.h: how a program ends that raised NotMade
FREE_SPACE = (
    "free disk space, or point TMPDIR to another disk if the temporary directory is full; then repeat the command"
)


class CrayfishError(Exception):
    """What was wrong, where, what is allowed, what to do."""


class NotMade(CrayfishError):
    """A run was told to stop, or could not begin: that says nothing of what it was to measure."""


def main(program: Callable[[], None]) -> None:
    """Run a script's main function; a CrayfishError or a full disk ends it with one message and exit status 1, a
    NotMade with that and NOT_MADE."""
    try:
        program()
    except NotMade as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(NOT_MADE)
    except CrayfishError as error:
        sys.exit(f"error: {error}")
    except Exception as error:  # what libraries raise for a full disk has many classes
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = error.filename2 or error.filename
            sys.exit(f"error: the disk is full{f' while writing {where}' if where else ''}: {FREE_SPACE}")
        if full := full_disk(Path.cwd()):
            sys.exit(f"error: {full}")
        raise


def full_disk(*folders: Path) -> str | None:
    """A sentence about the first of these folders, or of the temporary one, whose disk is full."""
    for folder in (*folders, Path(tempfile.gettempdir())):
        if shutil.disk_usage(folder).free < FULL_BYTES:
            return f"the disk of {folder} is full: {FREE_SPACE}"
    return None
