"""Outlives a harness that is killed: `python -m crayfish.janitor TAG FOLDER`, its standard input held by the harness.

When that closes, for whatever reason, every process that still carries the tag is killed, and the folder and the shared
memory whose name bears the tag are removed.
"""

import shutil
import signal
import sys
from pathlib import Path

from crayfish import stages


def main() -> None:
    tag, folder = sys.argv[1:]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.read()
    stages.sweep(tag)
    shutil.rmtree(folder, ignore_errors=True)
    for left in Path("/dev/shm").glob(f"*{tag}*"):
        left.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
