"""What goes wrong ends with an explanation, a non-zero exit, no output that looks whole, and nothing left behind."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from conftest import (
    ROOT,
    assert_nothing_left,
    assert_nothing_written,
    awaited,
    crayfish_folders,
    sampled,
    tagged_processes,
)
from sampling import FLOORS, PROCESSORS

from crayfish.engine.child import free_ports

LONG = [{"kind": "constant", "rate": 200.0, "warmup_s": 1.0, "measure_s": 120.0}]


def long_run(processor: str) -> dict:
    return {"processor": processor, "scorer": "noop" if processor in FLOORS else "onnx", "segments": LONG}


@pytest.mark.parametrize("processor", sampled(PROCESSORS, 0, step=4))
def test_a_broken_model_file(harness, tmp_path, processor):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"this is no model")
    run = harness(long_run(processor), tmp_path / "run", model=broken)
    output = run.finish()
    assert "broken.onnx" in output and "processor.log" in output
    run.assert_failed_cleanly(output)


@pytest.mark.parametrize("processor", sampled(PROCESSORS + FLOORS, 1))
def test_a_processor_that_is_killed(harness, tmp_path, processor):
    ends_as_killed(harness, tmp_path, processor, "processor")


@pytest.mark.parametrize("processor", sampled(PROCESSORS + FLOORS, 2, step=4))
def test_a_broker_that_is_killed(harness, tmp_path, processor):
    ends_as_killed(harness, tmp_path, processor, "broker")


def ends_as_killed(harness, tmp_path, processor, stage):
    run = harness(long_run(processor), tmp_path / "run")
    run.await_log("sent")
    run.stage(stage).kill()
    output = run.finish()
    assert f"{stage}: was killed by SIGKILL" in output
    run.assert_failed_cleanly(output)


@pytest.mark.parametrize("processor", sampled(PROCESSORS, 0))
def test_sigterm(harness, tmp_path, processor):
    run = harness(long_run(processor), tmp_path / "run")
    run.await_log("sent")
    run.process.send_signal(signal.SIGTERM)
    output = run.finish(60)
    assert "SIGTERM" in output
    run.assert_failed_cleanly(output)


@pytest.mark.parametrize("processor", sampled(PROCESSORS, 1, step=4))
def test_kill_9_of_the_harness_while_a_run_is_loaded(harness, tmp_path, processor):
    run = harness(long_run(processor), tmp_path / "run")
    run.await_log("sent")
    assert len(tagged_processes()) >= 4
    run.process.kill()
    run.process.wait()
    assert_nothing_left(run.before)
    assert_nothing_written(tmp_path / "run")


@pytest.fixture
def small_disk(tmp_path):
    """A folder with a disk of its own, of 64 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if not shutil.which("mount"):
        pytest.skip("there is no mount to make a small disk with")
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "crayfish-test", str(folder)]
    if (mounted := subprocess.run(command, capture_output=True, text=True)).returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Write until the folder's disk is full, whatever else is written there meanwhile."""
    with (folder / "other").open("wb", buffering=0) as other:
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    other.write(bytes(size))


@pytest.mark.parametrize("processor", sampled(PROCESSORS, 3, step=4))
def test_a_temporary_disk_that_fills_up(harness, tmp_path, small_disk, monkeypatch, processor):
    monkeypatch.setenv("TMPDIR", str(small_disk))
    load = {"kind": "constant", "rate": 100.0, "warmup_s": 1.0, "measure_s": 60.0}
    run = harness({**long_run(processor), "segments": [load]}, tmp_path / "run")
    run.await_log("sent")
    fill(small_disk)
    output = run.finish()
    assert f"the disk of {small_disk} is full: free disk space" in output
    run.assert_failed_cleanly(output)
    assert list(small_disk.glob("crayfish-*")) == []


@pytest.mark.parametrize("kind", ["constant", "backlog"])
def test_a_load_that_the_disk_cannot_hold_is_refused_at_the_start(harness, tmp_path, small_disk, monkeypatch, kind):
    monkeypatch.setenv("TMPDIR", str(small_disk))
    load = {"kind": kind, "rate": 4000.0, "warmup_s": 1.0, "measure_s": 60.0}
    run = harness({**long_run("kafka_streams"), "segments": [load]}, tmp_path / "run")
    output = run.finish(60)
    assert "free disk space, point TMPDIR to another disk, or lower" in output
    assert not (tmp_path / "run/logs/broker.log").exists()
    run.assert_failed_cleanly(output)


def test_a_disk_of_the_results_that_is_full_when_they_are_written(harness, small_disk):
    load = {"kind": "constant", "rate": 200.0, "warmup_s": 1.0, "measure_s": 5.0}
    run = harness({**long_run("kafka_streams"), "segments": [load]}, small_disk / "run")
    run.await_log("sent")
    fill(small_disk)
    output = run.finish()
    assert "the disk is full while writing" in output and "free disk space" in output
    run.assert_failed_cleanly(output)
    assert list((small_disk / "run").glob("*.part")) == []


def test_an_unreachable_broker(harness, tmp_path):
    (port,) = free_ports(1)
    run = harness(long_run("kafka_streams"), tmp_path / "run", **{"broker-address": f"127.0.0.1:{port}"})
    output = run.finish()
    assert f"127.0.0.1:{port} did not answer" in output
    run.assert_failed_cleanly(output)


def test_a_second_harness_is_refused_while_one_measures(harness, tmp_path):
    first = harness(long_run("kafka_streams"), tmp_path / "first")
    first.stage("broker")
    second = harness(long_run("kafka_streams"), tmp_path / "second")
    output = second.finish()
    assert second.process.returncode != 0
    assert f"process {first.process.pid}" in output and "Traceback" not in output
    assert_nothing_written(tmp_path / "second")
    first.process.send_signal(signal.SIGTERM)
    first.finish(60)
    assert_nothing_left(first.before)


def test_a_harness_whose_owner_dies_ends_by_itself(harness, tmp_path):
    owner = subprocess.Popen(["sleep", "600"])
    run = harness({**long_run("kafka_streams"), "broker": "own"}, tmp_path / "run", owner=owner.pid)
    run.await_log("sent")
    owner.kill()
    owner.wait()
    output = run.finish(60)
    assert "has exited; the run was stopped" in output
    run.assert_failed_cleanly(output)


def test_kill_9_of_snakemake_and_the_same_command_goes_on(resources, tmp_path):
    results, before = tmp_path / "results", set(crayfish_folders())
    config = tmp_path / "config.yaml"
    config.write_text(
        f"results: {results}\nrepetitions: 1\nrun: {{broker_warmup_s: 0}}\n"
        "experiments:\n"
        "  input_rate:\n"
        "    vary: {processor: [kafka_streams]}\n"
        "    beside: []\n"
        "    load: {rate: [50, 100], warmup_s: 1, measure_s: 4}\n"
    )
    target = f"{results}/tables/input_rate.csv"
    command = [sys.executable, "-m", "snakemake", "--cores", "all", target, "--configfile", str(config)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    log = (tmp_path / "snakemake.log").open("w+")
    first = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    awaited(lambda: tagged_processes() or None, 120, "a run's first stage")
    first.kill()
    first.wait()
    assert_nothing_left(before, 60)
    assert not list(results.rglob("manifest.json"))
    unlock = [sys.executable, "workflow/scripts/tools/unlock.py"]
    subprocess.run(unlock, cwd=ROOT, env={**environment, "PYTHONPATH": "workflow/scripts"}, check=True)
    second = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert second.returncode == 0, second.stderr
    assert (results / "tables/input_rate.csv").read_text().count("kafka_streams-onnx-ffnn") == 2
    assert not [
        each for each in psutil.process_iter(["cmdline"]) if "execute_run.py" in " ".join(each.info["cmdline"] or [])
    ]
