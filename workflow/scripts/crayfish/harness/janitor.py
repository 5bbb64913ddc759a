"""A run's temporary folder, and the process that outlives a harness that is killed: the janitor.

`python -m crayfish.harness.janitor TAG FOLDER` waits until its standard input closes, which the harness holds: at the
end of the run, or when the harness dies, however it dies. Then it kills every process that still carries the tag,
executes the command in the folder's file WITHDRAW, if there is one, and removes the folder and whatever else the tag
names. Where it is told to end, by SIGTERM, so is the job that it belongs to, and SIGKILL follows (SLURM's KillWait):
then it leaves the harness ENDING_S to do all that by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from crayfish.engine.child import SCRIPTS
from crayfish.harness import stages
from crayfish.spec import inheritance

WITHDRAW, WITHDRAW_DEADLINE_S = "withdraw.json", 60.0
ENDING_S = 2.0


class Hurry(Exception):
    """The harness has had its time."""


@contextmanager
def scratch_folder(
    tag: str, python: Path | str = sys.executable, held: Sequence[int] = (), inside: Path | None = None
) -> Iterator[Path]:
    """A temporary folder for a run whose processes carry the tag; leaving it ends them and removes the folder.

    python: an interpreter with psutil. held: descriptors that stay open until the janitor has done its work. inside:
    where the folder is made, if not where temporary ones are.
    """
    folder = Path(tempfile.mkdtemp(prefix="crayfish-", dir=inside))
    environment = inheritance.inherited(os.environ)  # without the tag of a run, which it outlives
    janitor = subprocess.Popen(
        [str(python), "-m", "crayfish.harness.janitor", tag, str(folder)],
        stdin=subprocess.PIPE,
        pass_fds=held,
        start_new_session=True,
        env={**environment, "PYTHONPATH": str(SCRIPTS)},
    )
    try:
        yield folder
    finally:
        janitor.communicate()  # closes its input and waits for its end


def main() -> None:
    tag, folder = sys.argv[1:]
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM)

    def hurry(*_: object) -> NoReturn:
        raise Hurry

    for number in signals:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.setitimer(signal.ITIMER_REAL, ENDING_S))
    signal.signal(signal.SIGALRM, hurry)
    with contextlib.suppress(Hurry):
        sys.stdin.read()
    for number in signals:
        signal.signal(number, signal.SIG_IGN)
    stages.sweep(tag)
    if (file := Path(folder, WITHDRAW)).exists():
        with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):  # nobody is left to tell
            subprocess.run(json.loads(file.read_text()), timeout=WITHDRAW_DEADLINE_S, stdin=subprocess.DEVNULL)
    shutil.rmtree(folder, ignore_errors=True)
    stages.remove_named(tag)


if __name__ == "__main__":
    main()
