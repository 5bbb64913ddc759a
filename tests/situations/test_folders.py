"""Temporary folders, results and checkouts that lie where others would not put them."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, called, copy_checkout, snakemake, tracked

from crayfish.harness import janitor
from crayfish.spec import config, surroundings
from crayfish.spec.run_spec import RunSpec, Segment

DEADLINE_S = 120.0


def test_a_blank_in_tmpdir_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    (folder := tmp_path / "a b").mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    done = snakemake("figures", "--directory", str(tmp_path), deadline_s=DEADLINE_S)
    assert done.returncode != 0 and "TMPDIR: the temporary folder" in done.stdout, done.stdout
    assert "Traceback" not in done.stdout and not (tmp_path / "resources").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_what_unpacks_code_is_refused_where_none_may_be_executed(tmp_path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "noexec", "none", str(tmp_path)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr}")
    try:
        code = "import sys; from crayfish.spec import surroundings as s; from crayfish.spec.run_spec import *;"
        code += "load = (Segment('constant', rate=1.0),);"
        code += "print(*(s.faults([RunSpec('flink', name, load)]) for name in sys.argv[1:]), sep='\\n')"
        environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT / "workflow/scripts")}
        command = [shutil.which("python") or "python3", "-c", code, "dl4j", "triton", "onnx"]
        told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert ["noexec" in line for line in told] == [True, True, False]


def test_a_plain_folder_has_no_fault():
    spec = RunSpec("flink", "triton", (Segment("constant", rate=1.0),))
    assert surroundings.faults([spec]) == []


@pytest.mark.parametrize(
    ("given", "expected"), [("~/mine", "HOME/mine"), ("$PLACE/mine", "HOME/there/mine"), ("results/", "results")]
)
def test_results_may_be_named_as_a_shell_would(given, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", str(tmp_path / "there"))
    made = config.complete({"results": given, "dataset_folder": given, "weights": {"resnet50": {"file": given}}})
    expected = expected.replace("HOME", str(tmp_path))
    assert made["results"] == made["dataset_folder"] == made["weights"]["resnet50"]["file"] == expected


@pytest.mark.parametrize("given", ["~nobody-like-this/x", "$NOT_SET_ANYWHERE/x"])
def test_what_a_shell_would_not_know_is_refused(given, tmp_path):
    done = snakemake("-n", "--directory", str(tmp_path), "--config", f"results={given}", deadline_s=DEADLINE_S)
    assert done.returncode != 0 and f"results: '{given}' is not allowed" in done.stdout, done.stdout
    assert "Traceback" not in done.stdout


MODULE = """
module crayfish:
    snakefile: "{root}/Snakefile"
use rule * from crayfish as crayfish_*
rule all:
    default_target: True
    input: rules.crayfish_tables.input
"""


@pytest.mark.parametrize("way", ["snakefile", "module"])
def test_the_working_directory_may_be_another_than_the_checkout(way, tmp_path):
    (tmp_path / "mine.smk").write_text(MODULE.format(root=ROOT))
    snakefile = ROOT / "Snakefile" if way == "snakefile" else tmp_path / "mine.smk"
    done = snakemake("-s", str(snakefile), "-n", "--quiet", "rules", cwd=tmp_path, deadline_s=DEADLINE_S)
    assert done.returncode == 0 and "execute_run" in done.stdout, done.stdout
    done = snakemake("-s", str(snakefile), "logs/none", "-n", cwd=tmp_path, deadline_s=DEADLINE_S)
    assert "configfile" not in done.stdout
    assert not [each for each in tmp_path.iterdir() if each.name not in (".snakemake", "mine.smk")]


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder cannot be written to, if this user may do that."""
    mounts = [["mount", "--bind", folder, folder], ["mount", "-o", "remount,ro,bind", folder]]
    done = [subprocess.run(mount, capture_output=True).returncode == 0 for mount in mounts]
    try:
        assert not done[1] or subprocess.run(["touch", folder / "x"], capture_output=True).returncode
        yield
    finally:
        if done[0]:
            subprocess.run(["umount", folder], check=True)


@pytest.mark.engine
def test_what_is_made_lies_in_the_working_directory(tmp_path):
    checkout, work = copy_checkout(tmp_path / "a checkout"), tmp_path / "work"
    work.mkdir()
    with read_only(checkout):
        done = snakemake("-s", str(checkout / "Snakefile"), "resources/jars/ecj", cwd=work)
    assert done.returncode == 0, done.stdout
    assert list((work / "resources/jars/ecj").glob("*.jar")) and (work / "logs/jars/ecj.log").exists()
    assert not (checkout / "resources").exists() and not (checkout / "logs").exists()


def test_a_checkout_that_was_moved_makes_its_programs_again(tmp_path):
    copy = tmp_path / "moved"
    for name in tracked():
        if name == "Makefile" or name.startswith(("envs/workflow", "config/")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    (copy / ".venv/bin").mkdir(parents=True)
    (copy / ".venv/pyvenv.cfg").write_text(f"command = /usr/bin/python3 -m venv {tmp_path}/earlier/.venv\n")
    said = called("make", "-n", "figures", cwd=copy, deadline_s=DEADLINE_S).stdout
    assert "moved or copied" in said and not (copy / ".venv").exists()
    (copy / ".venv").mkdir()
    (copy / ".venv/pyvenv.cfg").write_text(f"command = /usr/bin/python3 -m venv {copy}/.venv\n")
    assert "moved or copied" not in called("make", "-n", "figures", cwd=copy, deadline_s=DEADLINE_S).stdout
    assert (copy / ".venv").exists()


def test_an_environment_moves_with_its_folder(resources, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(resources / "environments/jars", moved, symlinks=True)
    command = [str(moved / "python"), "-c", "import sys; print(sys.prefix)"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert Path(said.strip()) == moved / "venv"


def test_the_janitor_follows_no_link_out_of_its_folder(tmp_path):
    (kept := tmp_path / "kept").mkdir()
    (kept / "file").touch()
    with janitor.scratch_folder("situation-" + tmp_path.name) as folder:
        (folder / "link").symlink_to(kept)
    assert not folder.exists() and (kept / "file").exists()
