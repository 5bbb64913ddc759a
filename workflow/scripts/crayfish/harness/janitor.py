"""Outlives a harness that is killed: `python -m crayfish.harness.janitor TAG FOLDER`, its standard input held by the
harness.

When that closes, for whatever reason, every process that still carries the tag is killed, and the folder, and whatever
else the tag names, is removed.
"""

import shutil
import signal
import sys

from crayfish.harness import stages


def main() -> None:
    tag, folder = sys.argv[1:]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.read()
    stages.sweep(tag)
    shutil.rmtree(folder, ignore_errors=True)
    stages.remove_named(tag)


if __name__ == "__main__":
    main()
