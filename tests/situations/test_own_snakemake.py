"""A user's own Snakemake: pip install snakemake, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, called

from crayfish.setup.environments import pins

DEADLINE_S = 300.0


@pytest.mark.engine
def test_it_plans_without_any_other_package(tmp_path):
    pinned = [line.split()[0] for line in pins(ROOT / "envs/workflow.yaml")]  # versions, without sums
    (tmp_path / "pins.txt").write_text("\n".join(pinned) + "\n")
    snakemake = next(pin for pin in pinned if pin.startswith("snakemake=="))
    uv, own = str(Path(sys.executable).with_name("uv")), tmp_path / "own/bin/python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "own"], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", own, "--constraint", tmp_path / "pins.txt", snakemake]
    subprocess.run(install, check=True, timeout=DEADLINE_S)
    assert subprocess.run([own, "-c", "import numpy"], capture_output=True).returncode != 0
    command = (str(own), "-m", "snakemake", "-n", "--quiet", "rules", "-s", str(ROOT / "Snakefile"))
    done = called(*command, cwd=tmp_path, deadline_s=DEADLINE_S)
    assert done.returncode == 0 and "execute_run" in done.stdout, done.stdout
