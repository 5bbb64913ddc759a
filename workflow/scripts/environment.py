"""Deploy one pinned environment and write OUT/python, which starts its interpreter, and OUT/packages.json.

Under conda this runs inside the environment that Snakemake made and only records it. Otherwise it makes a virtual
environment from the same pins, with uv, or with venv and pip where uv is missing. OUT/python is written last: where it
is, the environment is whole. It is a script, not a link, because a link would lose the environment.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

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


def run(command: list[str | Path], what: str) -> None:
    """Run a command; on failure end with its last lines and what to do."""
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, file=sys.stderr)
    if done.returncode:
        tail = "\n".join(done.stdout.strip().splitlines()[-15:])
        sys.exit(
            f"environment: {what} failed (exit {done.returncode}):\n{tail}\n"
            "Check that the package index can be reached and that the disk has room, then run the same command again."
        )


def make_virtual_environment(requirements: list[str], folder: Path) -> Path:
    """Make a virtual environment with exactly these packages; returns its interpreter."""
    shutil.rmtree(folder, ignore_errors=True)
    listed = folder.with_suffix(".txt")
    listed.write_text("\n".join(requirements) + "\n")
    interpreter = folder / "bin" / "python"
    if shutil.which("uv"):
        run(["uv", "venv", "--quiet", "--python", PYTHON, folder], "uv venv")
        install = [
            "uv",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--compile-bytecode",
            "--python",
            interpreter,
            "-r",
            listed,
        ]
    else:
        if sys.version_info[:2] != tuple(map(int, PYTHON.split("."))):
            sys.exit(f"environment: Python {PYTHON} is needed, this is {sys.version.split()[0]}: install it, or uv")
        run([sys.executable, "-m", "venv", folder], "python -m venv (on Debian it needs the package python3-venv)")
        install = [interpreter, "-m", "pip", "install", "--quiet", "--no-deps", "-r", listed]
    run(install, f"installing {len(requirements)} packages")
    listed.unlink()
    return interpreter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--yaml", type=Path, required=True, help="the conda environment file that holds the pins")
    parser.add_argument("--deployment", choices=["conda", "uv"], required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the environment")
    arguments = parser.parse_args()

    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if arguments.deployment == "conda":
        interpreter, deployment = Path(sys.executable), "conda"
    else:
        interpreter = make_virtual_environment(pins(arguments.yaml), out / "venv")
        deployment = "uv" if shutil.which("uv") else "pip"

    listed = json.loads(
        subprocess.run([interpreter, "-c", LIST_PACKAGES], check=True, capture_output=True, text=True).stdout
    )
    installed = {normalised(name): version for name, version in listed["packages"].items()}
    wanted = [pin.split("==") for pin in pins(arguments.yaml)]
    missing = [f"{name}=={version}" for name, version in wanted if installed.get(normalised(name)) != version]
    if missing:
        sys.exit(f"environment: {arguments.yaml} was not deployed as pinned, missing: {', '.join(missing)}")
    (out / "packages.json").write_text(
        json.dumps({"environment": arguments.yaml.stem, "deployment": deployment, **listed}, indent=2) + "\n"
    )
    wrapper = out / "python.part"
    wrapper.write_text(f'#!/bin/sh\nexec "{interpreter}" "$@"\n')
    wrapper.chmod(0o755)
    wrapper.replace(out / "python")


if __name__ == "__main__":
    main()
