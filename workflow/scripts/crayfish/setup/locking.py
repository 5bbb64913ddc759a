"""Pins: what the files envs/NAME.in ask for, resolved under envs/constraints.txt into envs/NAME.yaml.

Environments are resolved in the order of CHAINS, each also constrained by what the earlier ones of its chain chose, so
that a package that several share has one version. Snakemake's own environment measures nothing and its plugins ask for
newer packages than PyFlink allows: it is a chain of its own. A version written in an .in file itself wins over the
constraints: the exception stands where it is made. Each pin has the sha256 of every file that one of PLATFORMS would
install: of its wheels, or of the source where there is none. The first must have all packages; an environment that
another lacks a package of cannot be made there. Needs uv and the network.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from crayfish.setup import environments
from crayfish.setup.environments import PYTHON, normalised
from crayfish.spec.errors import CrayfishError

# The most constrained first: PyFlink decides what the others follow. None stands for every environment not named.
CHAINS: tuple[tuple[str | None, ...], ...] = (("flink", None), ("workflow", "test"))
PLATFORMS = ("x86_64-manylinux_2_40", "aarch64-manylinux_2_40")
HEADER = "# Made by `make lock` from {name}.in and constraints.txt: edit those.\n"


def package(requirement: str) -> str:
    """The normalised name of a requirement line: 'Numpy==2.1' -> 'numpy'."""
    return normalised(re.split(r"[=<>!~;\[ ]", requirement, maxsplit=1)[0].strip())


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


def compiled(name: str, wanted: list[str], constraints: list[str], *options: str) -> str:
    """What `uv pip compile` prints for these requirements; CrayfishError if no versions satisfy them."""
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "wanted.in").write_text("\n".join(wanted))
        Path(scratch, "constraints.txt").write_text("\n".join(constraints))
        command = ["uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", PYTHON]
        command += ["--constraints", "constraints.txt", "wanted.in", *options]
        try:
            done = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise CrayfishError("lock: uv is not installed: `make lock` installs it into .venv") from error
    if done.returncode:
        raise CrayfishError(f"lock: no versions satisfy envs/{name}.in and the constraints:\n{done.stderr}")
    return done.stdout


def resolve(name: str, wanted: list[str], pins: dict[str, str]) -> list[str]:
    """Every package of an environment, transitive ones too, as name==version lines; CrayfishError if there are none."""
    own = {package(line) for line in wanted if re.search(r"[=<>~]", line)}
    printed = compiled(name, wanted, [pin for constrained, pin in pins.items() if constrained not in own])
    return [line for line in printed.splitlines() if line.strip()]


def sums(name: str, pins: list[str]) -> dict[str, list[str]]:
    """Package -> the sha256 of each of its files that can be installed on PLATFORMS, sorted."""
    found: dict[str, set[str]] = {}
    for platform in PLATFORMS:
        try:
            listed = compiled(name, pins, [], "--no-deps", "--format", "pylock.toml", "--python-platform", platform)
        except CrayfishError as error:
            if platform == PLATFORMS[0]:
                raise
            print(f"{name}: not for {platform}: {error}")
            continue
        for entry in tomllib.loads(listed)["packages"]:
            files = entry.get("wheels") or [entry["sdist"]]
            found.setdefault(normalised(entry["name"]), set()).update(file["hashes"]["sha256"] for file in files)
    return {each: sorted(own) for each, own in found.items()}


def lock(envs: Path, only: Sequence[str] = ()) -> None:
    """Rewrite every environment's YAML file in the folder `envs`; or some alone, under the pins of all others too."""
    constraints = {package(line): line for line in requirements(envs / "constraints.txt")}
    named = {name for chain in CHAINS for name in chain}
    unnamed = sorted({path.stem for path in envs.glob("*.in")} - named)
    for chain in CHAINS:
        pins, names = dict(constraints), [name for entry in chain for name in ([entry] if entry else unnamed)]
        kept = [name for name in names if name not in only] if only else []
        for name in kept:  # what an earlier one of the chain has chosen holds
            locked = [line.split()[0] for line in environments.pins(envs / f"{name}.yaml")]
            pins = {package(line): line for line in locked} | pins
        for name in [name for name in names if name not in kept]:
            locked = resolve(name, requirements(envs / f"{name}.in"), pins)
            pins = {package(line): line for line in locked} | pins
            write(envs, name, locked)
            print(f"{name}: {len(locked)} packages")


def write(envs: Path, name: str, locked: list[str]) -> None:
    """The YAML file of an environment, with these pins and their sums."""
    own = sums(name, locked)
    lines = [" ".join((line, *(f"--hash=sha256:{one}" for one in own[package(line)]))) for line in locked]
    text = HEADER.format(name=name) + "channels:\n  - conda-forge\n  - nodefaults\ndependencies:\n"
    text += f"  - python={PYTHON}\n  - pip\n  - pip:\n" + "".join(f"      - {line}\n" for line in lines)
    (envs / f"{name}.yaml").write_text(text)
