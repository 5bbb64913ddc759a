"""The programs that serve no rule: the documented tables are current, a lock is removed only if its holder is gone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MARKED = [file for file in (ROOT / "README.md", *ROOT.glob("docs/*.md")) if "<!-- matrix -->" in file.read_text()]


def tool(name: str, *arguments: object, folder: Path = ROOT, programs: Path | None = None):
    """Run one of the tools in a folder, as the Makefile does; `programs` comes first on its PATH."""
    scripts = ROOT / "workflow" / "scripts"
    searched = [*([programs] if programs else []), Path(sys.executable).parent, os.environ["PATH"]]
    environment = {**os.environ, "PYTHONPATH": str(scripts), "PATH": os.pathsep.join(map(str, searched))}
    command = [sys.executable, scripts / "tools" / f"{name}.py", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def test_the_documented_matrix_is_current():
    (file,) = MARKED
    done = tool("matrix", "--file", file, "--check")
    assert done.returncode == 0, done.stderr


def test_a_matrix_that_is_not_current_is_told_and_written_again(tmp_path):
    file = tmp_path / "systems.md"
    file.write_text("before\n<!-- matrix -->\nold\n<!-- end of matrix -->\nafter\n")
    done = tool("matrix", "--file", file, "--check")
    assert done.returncode == 1 and "run `make matrix`" in done.stderr and "old" in file.read_text()
    assert tool("matrix", "--file", file).returncode == 0
    assert tool("matrix", "--file", file, "--check").returncode == 0
    text = file.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "`kafka_streams`" in text and "old" not in text
    file.write_text("no markers")
    done = tool("matrix", "--file", file)
    assert done.returncode == 1 and "markers" not in file.name and "are missing" in done.stderr


@pytest.fixture
def locked(tmp_path):
    """A folder that Snakemake has locked."""
    (tmp_path / ".snakemake" / "locks").mkdir(parents=True)
    (tmp_path / ".snakemake" / "locks" / "0.output.lock").write_text("all")
    return tmp_path


@pytest.mark.parametrize(("status", "told"), [(0, "ended without removing its lock"), (1, "cannot be removed:\nwhy")])
def test_snakemake_removes_the_lock_of_a_dead_one(locked, status, told):
    program = locked / "bin" / "snakemake"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@$PYTHONPATH" > called\necho why >&2\nexit {status}\n')
    program.chmod(0o755)
    done = tool("unlock", folder=locked, programs=program.parent)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False) and told in done.stderr, done.stderr
    assert (
        locked / "called"
    ).read_text() == "--cores 1 --unlock\n"  # and no PYTHONPATH, where our tabulate.py hides Snakemake's


def test_the_lock_of_a_live_snakemake_stays(locked):
    program = locked / "snakemake"
    program.write_text("input()")
    with subprocess.Popen([sys.executable, program], cwd=locked, stdin=subprocess.PIPE) as running:
        done = tool("unlock", folder=locked)
        running.communicate(b"\n")
    assert done.returncode == 1 and f"{running.pid} " in done.stderr and "Traceback" not in done.stderr
    assert list(locked.glob(".snakemake/locks/*.lock"))


def test_a_folder_without_a_lock_is_left_alone(tmp_path):
    done = tool("unlock", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
