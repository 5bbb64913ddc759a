"""Two results folders side by side: ratios with intervals, and what differs between the machines."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from generated_runs import folder_of, spec_of, write_run

from crayfish.results import summaries
from crayfish.spec.run_spec import Segment

TOOLS = ROOT / "workflow/scripts/tools"
PACED, DRAINED = (
    Segment("constant", 200.0, warmup_s=2.0, measure_s=6.0),
    Segment("backlog", 2000.0, warmup_s=2.0, measure_s=6.0),
)


def compare(*folders: Path) -> subprocess.CompletedProcess:
    """The tool as `make compare` calls it."""
    command = [sys.executable, str(TOOLS / "compare.py"), *map(str, folders)]
    environment = {**os.environ, "PYTHONPATH": str(TOOLS.parent)}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def write_results(root: Path, capacity: float, cpu: str, scorers: tuple[str, ...], **search: float) -> Path:
    """Three repetitions of a paced and of a drained run for each scorer."""
    for scorer in scorers:
        for load in (PACED, DRAINED):
            spec = spec_of("flink", scorer, load)
            for repetition in (1, 2, 3):
                folder = folder_of(root / "runs", spec, repetition)
                write_run(folder, spec, capacity=capacity * (1 + 0.01 * repetition), seed=repetition, **search)
                manifest = json.loads((folder / "manifest.json").read_text())
                manifest["machine"] = {**manifest["machine"], "cpu": cpu}
                (folder / "manifest.json").write_text(json.dumps(manifest))
                (folder / "summary.json").write_text(json.dumps(summaries.summarise(folder)))
    return root


def test_ratios_and_what_differs(tmp_path):
    first = write_results(tmp_path / "first", 10_000.0, "Slow CPU", ("onnx", "noop"))
    second = write_results(tmp_path / "second", 20_000.0, "Fast CPU", ("onnx",))
    done = compare(first, second)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if "throughput (events/s)" in line]
    assert len(rows) == 1 and float(rows[0][5]) == pytest.approx(2.0, abs=0.01)
    low, high = map(float, rows[0][6].rstrip(" |").split(" to "))
    assert low < 2.0 < high and high - low < 0.2
    assert "median latency (ms)" in done.stdout and "Only in the first: flink-noop" in done.stdout
    assert "| cpu | Slow CPU | Fast CPU |" in done.stdout and "| cores |" not in done.stdout


def test_of_a_search_the_rate_that_it_found_is_compared(tmp_path):
    first, second = (
        write_results(tmp_path / name, 10_000.0, "a CPU", ("onnx",), sustainable=rate)
        for name, rate in (("first", 900.0), ("second", 1800.0))
    )
    done = compare(first, second)
    rows = [line.split(" | ")[2:6] for line in done.stdout.splitlines() if line.startswith("| flink")]
    assert rows == [["sustainable rate (events/s)", "900", "1800", "2.00"]] * 2
    assert "latency" not in done.stdout


def test_a_folder_without_runs_is_refused(tmp_path):
    done = compare(tmp_path, tmp_path)
    assert done.returncode == 1 and "no summary of a run" in done.stderr and "Traceback" not in done.stderr
