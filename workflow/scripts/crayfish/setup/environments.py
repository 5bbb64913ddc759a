"""Python environments from their pins. It uses the standard library alone: the first environment is made without any.

A folder's `python` starts the environment's interpreter and `packages.json` tells what is in it. `python` is written
last: where it is, the environment is whole. It is a script, not a link, because a link would lose the environment.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from crayfish.spec.errors import CrayfishError

PYTHON = "3.11"
LIST_PACKAGES = (
    "import importlib.metadata as m, json, platform;"
    "print(json.dumps({'python': platform.python_version(),"
    " 'packages': dict(sorted((d.metadata['Name'], d.version) for d in m.distributions()))}))"
)


def pins(yaml_file: Path) -> list[str]:
    """The pip pins of a conda environment file, as requirement lines: name==version, then a --hash for each file."""
    lines = [line.strip().removeprefix("- ") for line in yaml_file.read_text().splitlines()]
    return [line for line in lines if "==" in line and not line.startswith("#")]


def normalised(name: str) -> str:
    """A package's name as the index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def versions(requirements: list[str]) -> dict[str, str]:
    """Normalised name -> version, of the lines of `pins`."""
    parts = [line.split()[0].split("==") for line in requirements]
    return {normalised(name): version for name, version in parts}


def run(command: list[str | Path], what: str) -> str:
    """What a command prints, which also goes to standard error; CrayfishError with its last lines if it fails."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, file=sys.stderr)
    if done.returncode:
        tail = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise CrayfishError(
            f"environment: {what} failed (exit {done.returncode}):\n{tail}\n"
            "Check that the package index can be reached and that the disk has room, then run the same command again. A"
            " file whose sum (hash) is not the pinned one was damaged or changed on its way, or the index has files of"
            " its own: `make lock` pins what it serves now."
        )
    return done.stdout


def make_virtual_environment(requirements: list[str], folder: Path, builders: list[str]) -> Path:
    """Make a virtual environment with exactly these packages, by uv or else by venv and pip; returns its interpreter.

    `builders` are the pins of what builds those that have no wheel. Each line names the sha256 of the files that are
    allowed, as `pins` gives them. CrayfishError if a package cannot be installed, if what came is another file, or if
    neither uv nor this Python can make the right version.
    """
    shutil.rmtree(folder, ignore_errors=True)
    listed, constraints = folder.with_suffix(".txt"), folder.with_suffix(".build.txt")
    listed.write_text("\n".join(requirements) + "\n")
    constraints.write_text("\n".join(builders) + "\n")
    interpreter = folder / "bin" / "python"
    install: list[str | Path]
    if shutil.which("uv"):
        run(["uv", "venv", "--quiet", "--python", PYTHON, folder], "uv venv")
        install = ["uv", "pip", "install", "--compile-bytecode", "--python", interpreter]
        install += ["--build-constraints", constraints]
    else:
        if sys.version_info[:2] != tuple(map(int, PYTHON.split("."))):
            raise CrayfishError(
                f"environment: Python {PYTHON} is needed, this is {sys.version.split()[0]}: install it, or uv"
            )
        run([sys.executable, "-m", "venv", folder], "python -m venv (on Debian it needs the package python3-venv)")
        install = [interpreter, "-m", "pip", "install", "--constraint", constraints]
    run(
        [*install, "--quiet", "--no-deps", "--require-hashes", "-r", listed], f"installing {len(requirements)} packages"
    )
    listed.unlink()
    constraints.unlink()
    return interpreter


def installed_packages(interpreter: Path) -> dict:
    """An environment's `python` version and `packages`, {name: version}."""
    done = subprocess.run([interpreter, "-c", LIST_PACKAGES], capture_output=True, text=True)
    if done.returncode:
        raise CrayfishError(f"environment: {interpreter} does not start:\n{done.stderr.strip()}")
    return json.loads(done.stdout)


def deploy(pinned: Path, out: Path, deployment: str, builders: Path | None = None) -> None:
    """Make the folder `out` of the environment that a conda file pins, its packages built by what `builders` pins.

    "uv" makes a virtual environment. "conda" means that this interpreter is the environment's, which Snakemake made:
    it is only recorded. CrayfishError if it cannot be made, or if a pinned package is missing.
    """
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if deployment == "conda":
        interpreter, made_by = Path(sys.executable), "conda"
    else:
        interpreter = make_virtual_environment(pins(pinned), out / "venv", pins(builders) if builders else [])
        made_by = "uv" if shutil.which("uv") else "pip"
    listed = installed_packages(interpreter)
    found = {normalised(name): version for name, version in listed["packages"].items()}
    wanted = versions(pins(pinned))
    missing = [f"{name}=={version}" for name, version in wanted.items() if found.get(name) != version]
    if missing:
        raise CrayfishError(
            f"environment: packages that {pinned} pins are missing: {', '.join(missing)}. Remove {out} and, if conda"
            " made it, Snakemake's copy of the environment (snakemake --list-conda-envs), and run the same command"
            " again."
        )
    (out / "packages.json").write_text(
        json.dumps({"environment": pinned.stem, "deployment": made_by, **listed}, indent=2) + "\n"
    )
    wrapper = out / "python.part"
    # Relative to itself, so that a checkout that is moved or copied takes its environments along.
    started = "${0%/*}/venv/bin/python" if deployment == "uv" else str(interpreter)
    wrapper.write_text(f'#!/bin/sh\nexec "{started}" "$@"\n')
    wrapper.chmod(0o755)
    wrapper.replace(out / "python")
