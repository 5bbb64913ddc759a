"""Resolve envs/*.in under envs/constraints.txt into envs/*.yaml, every package pinned (`make lock`).

Environments are resolved in the order of CHAINS, each also constrained by what the earlier ones of its chain chose, so
that a package that several share has one version. Snakemake's own environment measures nothing and its plugins ask for
newer packages than PyFlink allows: it is a chain of its own. A version written in an .in file itself wins over the
constraints: the exception stands where it is made. Needs uv on PATH and the network.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PYTHON = "3.11"
# The most constrained first: PyFlink decides what the others follow. None stands for every environment not named.
CHAINS = [["flink", None], ["workflow", "test"]]
HEADER = "# Made by `make lock` from {name}.in and constraints.txt: edit those.\n"


def package(requirement: str) -> str:
    """The normalised name of a requirement line: 'Numpy==2.1' -> 'numpy'."""
    return re.split(r"[=<>!~;\[ ]", requirement, maxsplit=1)[0].strip().lower().replace("_", "-")


def requirements(path: Path) -> list[str]:
    """The requirement lines of a file, without comments; `-r` includes are followed."""
    lines: list[str] = []
    for line in path.read_text().splitlines():
        line = line.split("#")[0].strip()
        if line.startswith("-r"):
            lines += requirements(path.parent / line[2:].strip())
        elif line:
            lines.append(line)
    return lines


def resolve(wanted: list[str], pins: dict[str, str], scratch: Path) -> list[str]:
    """Every package, transitive ones too, as name==version lines."""
    own = {package(line) for line in wanted if re.search(r"[=<>~]", line)}
    (scratch / "wanted.in").write_text("\n".join(wanted))
    (scratch / "constraints.txt").write_text("\n".join(pin for name, pin in pins.items() if name not in own))
    command = ["uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", PYTHON]
    command += ["--constraints", "constraints.txt", "wanted.in"]
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"lock: no solution\n{done.stderr}")
    return [line for line in done.stdout.splitlines() if line.strip()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--envs", type=Path, default=Path("envs"))
    envs = parser.parse_args().envs

    constraints = {package(line): line for line in requirements(envs / "constraints.txt")}
    named = {name for chain in CHAINS for name in chain if name}
    others = sorted({path.stem for path in envs.glob("*.in")} - named)
    for chain in CHAINS:
        pins = dict(constraints)
        for name in [name for entry in chain for name in ([entry] if entry else others)]:
            wanted = requirements(envs / f"{name}.in")
            with tempfile.TemporaryDirectory() as scratch:
                locked = resolve(wanted, pins, Path(scratch))
            pins = {package(line): line for line in locked} | pins
            text = HEADER.format(name=name) + "channels:\n  - conda-forge\n  - nodefaults\ndependencies:\n"
            text += f"  - python={PYTHON}\n  - pip\n  - pip:\n" + "".join(f"      - {line}\n" for line in locked)
            (envs / f"{name}.yaml").write_text(text)
            print(f"{name}: {len(locked)} packages")


if __name__ == "__main__":
    main()
