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
    """The pip pins of a conda environment file, as requirement lines."""
    lines = [line.strip().removeprefix("- ") for line in yaml_file.read_text().splitlines()]
    return [line for line in lines if "==" in line and not line.startswith("#")]


def normalised(name: str) -> str:
    """A package's name as the index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def run(command: list[str | Path], what: str) -> str:
    """What a command prints, which also goes to standard error; CrayfishError with its last lines if it fails."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, file=sys.stderr)
    if done.returncode:
        tail = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise CrayfishError(
            f"environment: {what} failed (exit {done.returncode}):\n{tail}\n"
            "Check that the package index can be reached and that the disk has room, then run the same command again."
        )
    return done.stdout


def make_virtual_environment(requirements: list[str], folder: Path) -> Path:
    """Make a virtual environment with exactly these packages, by uv or else by venv and pip; returns its interpreter.

    CrayfishError if a package cannot be installed, or if neither uv nor this Python can make the right version.
    """
    shutil.rmtree(folder, ignore_errors=True)
    listed = folder.with_suffix(".txt")
    listed.write_text("\n".join(requirements) + "\n")
    interpreter = folder / "bin" / "python"
    install: list[str | Path]
    if shutil.which("uv"):
        run(["uv", "venv", "--quiet", "--python", PYTHON, folder], "uv venv")
        install = ["uv", "pip", "install", "--compile-bytecode", "--python", interpreter]
    else:
        if sys.version_info[:2] != tuple(map(int, PYTHON.split("."))):
            raise CrayfishError(
                f"environment: Python {PYTHON} is needed, this is {sys.version.split()[0]}: install it, or uv"
            )
        run([sys.executable, "-m", "venv", folder], "python -m venv (on Debian it needs the package python3-venv)")
        install = [interpreter, "-m", "pip", "install"]
    run([*install, "--quiet", "--no-deps", "-r", listed], f"installing {len(requirements)} packages")
    listed.unlink()
    return interpreter


def installed_packages(interpreter: Path) -> dict:
    """An environment's `python` version and `packages`, {name: version}."""
    done = subprocess.run([interpreter, "-c", LIST_PACKAGES], capture_output=True, text=True)
    if done.returncode:
        raise CrayfishError(f"environment: {interpreter} does not start:\n{done.stderr.strip()}")
    return json.loads(done.stdout)


def deploy(pinned: Path, out: Path, deployment: str) -> None:
    """Make the folder `out` of the environment that a conda file pins.

    "uv" makes a virtual environment. "conda" means that this interpreter is the environment's, which Snakemake made:
    it is only recorded. CrayfishError if it cannot be made, or if a pinned package is missing.
    """
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if deployment == "conda":
        interpreter, made_by = Path(sys.executable), "conda"
    else:
        interpreter = make_virtual_environment(pins(pinned), out / "venv")
        made_by = "uv" if shutil.which("uv") else "pip"
    listed = installed_packages(interpreter)
    versions = {normalised(name): version for name, version in listed["packages"].items()}
    wanted = [pin.split("==") for pin in pins(pinned)]
    missing = [f"{name}=={version}" for name, version in wanted if versions.get(normalised(name)) != version]
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
