"""The programs that serve no rule: the documented tables are current, a lock is removed only if its holder is gone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MARKED = [file for file in (ROOT / "README.md", *ROOT.glob("docs/*.md")) if "<!-- matrix -->" in file.read_text()]


def tool(name: str, *arguments: object, folder: Path = ROOT) -> subprocess.CompletedProcess:
    """Run one of the tools in a folder, as the Makefile does."""
    scripts = ROOT / "workflow" / "scripts"
    paths = {"PYTHONPATH": str(scripts), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, scripts / "tools" / f"{name}.py", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env={**os.environ, **paths}, capture_output=True, text=True, timeout=60)


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
    (tmp_path / "Snakefile").write_text("rule all:\n    shell: 'true'\n")
    (tmp_path / ".snakemake" / "locks").mkdir(parents=True)
    (tmp_path / ".snakemake" / "locks" / "0.output.lock").write_text("all")
    return tmp_path


def test_the_lock_of_a_dead_snakemake_is_removed(locked):
    done = tool("unlock", folder=locked)
    assert done.returncode == 0 and "ended without removing its lock" in done.stderr, done.stderr
    assert not list(locked.glob(".snakemake/locks/*.lock"))


def test_the_lock_of_a_live_snakemake_stays(locked):
    program = locked / "snakemake"
    program.write_text("input()")
    with subprocess.Popen([sys.executable, program], cwd=locked, stdin=subprocess.PIPE) as running:
        done = tool("unlock", folder=locked)
        assert done.returncode == 1 and f"{running.pid} " in done.stderr and "Traceback" not in done.stderr
        running.communicate(b"\n")
    assert list(locked.glob(".snakemake/locks/*.lock"))
