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


def write_results(root: Path, capacity: float, cpu: str, scorers: tuple[str, ...], **how: object) -> Path:
    """Three repetitions of a paced and of a drained run for each scorer."""
    for scorer in scorers:
        for load in (PACED, DRAINED):
            spec = spec_of("flink", scorer, load)
            for repetition in (1, 2, 3):
                folder = folder_of(root / "runs", spec, repetition)
                write_run(folder, spec, capacity=capacity * (1 + 0.01 * repetition), seed=repetition, **how)
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
    rows = [line.split(" | ")[2:6] for line in done.stdout.splitlines() if "| sustainable rate" in line]
    assert rows == [["sustainable rate (events/s)", "900", "1800", "2.00"]] * 2
    assert "latency" not in done.stdout


def test_a_rate_that_is_zero_is_shown_and_gives_no_ratio(tmp_path):
    first = write_results(tmp_path / "first", 10_000.0, "a CPU", ("onnx",), sustainable=900.0)
    second = write_results(tmp_path / "second", 10_000.0, "a CPU", ("onnx",), sustainable=600.0)
    for file in second.glob("runs/*/2/summary.json"):
        summary = json.loads(file.read_text())
        summary["segments"][0]["sustainable_events_per_s"] = 0.0
        file.write_text(json.dumps(summary))
    done = compare(first, second)
    rows = [line.split(" | ")[2:] for line in done.stdout.splitlines() if "| sustainable rate" in line]
    assert rows == [["sustainable rate (events/s)", "900", "400", "-", "0 in 0 of 3 and 1 of 3 repetitions |"]] * 2


def test_loads_of_different_rates_are_not_compared(tmp_path):
    first, second = (write_results(tmp_path / name, 10_000.0, "a CPU", ("onnx",)) for name in ("first", "second"))
    for file in second.glob("runs/*constant*/*/summary.json"):
        summary = json.loads(file.read_text())
        summary["segments"][0]["load"] |= {"rate": 300.0, "of": "sustainable"}
        file.write_text(json.dumps(summary))
    done = compare(first, second)
    rows = [line.split(" | ")[5:] for line in done.stdout.splitlines() if "latency (ms)" in line]
    assert rows and all(row == ["-", "not compared: offered 200 and 300 events/s |"] for row in rows)
    assert [line for line in done.stdout.splitlines() if "throughput" in line and "1.00" in line]


def test_the_warnings_of_both_are_told(tmp_path):
    first = write_results(tmp_path / "first", 10_000.0, "a CPU", ("onnx",))
    second = write_results(tmp_path / "second", 10_000.0, "a CPU", ("onnx",), warnings=("segment 1: the CPU was hot",))
    lines = compare(first, second).stdout.splitlines()
    assert [line.split(" | ")[1:] for line in lines if "hot" in line] == [["1", "the CPU was hot", "0", "3 |"]] * 2


def test_a_folder_without_runs_is_refused(tmp_path):
    done = compare(tmp_path, tmp_path)
    assert done.returncode == 1 and "no summary of a run" in done.stderr and "Traceback" not in done.stderr
