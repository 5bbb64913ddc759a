"""Remove Snakemake's lock on this folder if who held it is dead; a live Snakemake keeps its lock."""

import subprocess
import sys
from pathlib import Path


def live_snakemakes(folder: Path) -> list[str]:
    """Processes that run Snakemake in this folder, as 'pid command line'."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            here = (process / "cwd").resolve() == folder
        except OSError:
            continue
        programs = [Path(part.decode(errors="replace")).name for part in command[:3]]
        if here and "snakemake" in programs:
            found.append(f"{process.name} {b' '.join(command).decode(errors='replace').strip()}")
    return found


def main() -> None:
    folder = Path.cwd().resolve()
    if not any((folder / ".snakemake" / "locks").glob("*.lock")):
        return
    if found := live_snakemakes(folder):
        sys.exit(f"Snakemake is at work in this folder: wait for it or stop it first.\n  {found[0]}")
    done = subprocess.run(["snakemake", "--cores", "1", "--unlock"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the lock that an ended Snakemake left cannot be removed:\n{done.stderr}")
    print("An earlier Snakemake ended without removing its lock; it goes on where it was.", file=sys.stderr)


if __name__ == "__main__":
    main()
