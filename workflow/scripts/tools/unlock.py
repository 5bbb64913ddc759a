"""Remove Snakemake's lock on this folder if the process that held it has ended; a live Snakemake keeps its lock."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

from crayfish.spec import errors
from crayfish.spec.errors import CrayfishError


def live_snakemakes(folder: Path) -> list[str]:
    """The processes that run Snakemake in this folder, as 'pid command line'."""
    found = []
    for process in psutil.process_iter():
        try:
            command, works_in = process.cmdline(), process.cwd()
        except psutil.Error:  # it has ended, or is another user's
            continue
        if works_in == str(folder) and "snakemake" in [Path(word).name for word in command[:3]]:
            found.append(f"{process.pid} {' '.join(command)}")
    return found


def main() -> None:
    folder = Path.cwd().resolve()
    if not any((folder / ".snakemake" / "locks").glob("*.lock")):
        return
    if found := live_snakemakes(folder):
        raise CrayfishError(f"Snakemake is running in this folder: wait until it ends, or stop it.\n  {found[0]}")
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH"
    }  # our tabulate hides its own
    done = subprocess.run(["snakemake", "--cores", "1", "--unlock"], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise CrayfishError(f"the lock that an ended Snakemake left in {folder} cannot be removed:\n{done.stderr}")
    print("An earlier Snakemake ended without removing its lock: removed; finished results are kept.", file=sys.stderr)


if __name__ == "__main__":
    errors.main(main)
