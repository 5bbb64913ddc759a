"""The page that `make benchmark` writes, on tables whose numbers are known; and that every benchmark can be started."""

import csv
import json
import subprocess
import sys

import pytest
from conftest import ROOT

from crayfish.engine.child import SCRIPTS
from crayfish.spec import discovery, paths

REPORT = ROOT / "benchmarks/report.py"
MACHINE = {"cpu": "Example CPU", "cores": 2, "memory_bytes": 24 * 2**30, "kernel": "6.1"}
RELAY = 80_000.0
PAGE = "# Title\n\nbefore\n\n<!-- measured -->\nold\n<!-- end of measured -->\n\nafter\n"


def metric(name: str, mean: float, half: float) -> dict:
    return {name: mean, f"{name}_low": mean - half, f"{name}_high": mean + half}


def row_of(processor: str, scorer: str, **fields: object) -> dict:
    return {
        "processor": processor,
        "scorer": scorer,
        "repetitions": 3,
        "rate_events_per_s": "",
        **metric("throughput_events_per_s", 34_712.3, 8_500.4),
        **metric("cpu_processor_us_per_event", 36.96, 1.5),
        **metric("fixed_cost_s", 16.24, 0.5),
        "warnings": "",
        **fields,
    }


@pytest.fixture
def results(tmp_path):
    """What was measured: tables, and the JSON of speed.py and servers.py."""
    latencies = metric("latency_p50_ms", 1.3, 0.2) | metric("append_minus_sent_p50_ms", 0.9, 0.2)
    tables = {
        "throughput": [row_of("flink", "noop"), row_of("ray", "noop", warnings="lost cores"), row_of("ray", "onnx")],
        "latency": [row_of("flink", "onnx", rate_events_per_s=rate, **latencies) for rate in (2048.0, 512.0)],
    }
    for name, rows in tables.items():
        file = tmp_path / paths.table(".", name)
        file.parent.mkdir(exist_ok=True)
        with file.open("w") as opened:
            writer = csv.DictWriter(opened, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    speed = {
        "relays": [{"events_per_s": RELAY, "cpu_us_per_event": 5.8}] * 2,
        "paced": [
            {
                "rate": 2048.0,
                "seconds": 20.0,
                "cores": {"generator": 0.114, "sink": 0.09},
                "due_to_append_ms": {"p50": 0.4, "p99": 3.21, "most": 8.0},
                "received_minus_due_ms": {"p50": 0.45, "p99": None, "most": 12.0},
            }
        ],
        "summary_of_a_million": {"seconds": 1.234, "peak_gb": 0.44},
    }
    pair = {"server": "tf_serving (in-repo server)", "processor": "ray", "requests_per_s": 2000.0}
    pair |= {"events_per_s": 1900.0, "ratio": 0.95, "cpu_us_per_request": 450.0, "cpu_us_per_event": 600.0}
    measured = {"speed": speed, "servers": {"in_flight": 16, "pairs": [pair]}}
    for name, values in measured.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"date": "2026-11-28", "machine": MACHINE, **values}))
    return tmp_path


def report(results, text: str = PAGE) -> subprocess.CompletedProcess:
    page = results / "page.md"
    page.write_text(text)
    command = [sys.executable, str(REPORT), "--results", str(results), "--file", str(page)]
    return subprocess.run(command, env={"PYTHONPATH": str(SCRIPTS)}, capture_output=True, text=True)


def test_the_page_has_what_was_measured_between_its_markers(results):
    assert report(results).returncode == 0
    text = (results / "page.md").read_text()
    assert text.startswith(
        "# Title\n\nbefore\n\n<!-- measured -->\nMeasured on 2026-11-28 on 2 cores of Example CPU, 24 GiB"
    )
    assert text.endswith("\n<!-- end of measured -->\n\nafter\n") and "old" not in text
    lines = text.splitlines()
    assert lines[lines.index("| scorer | `flink` | `ray` |") :][:4] == [
        "| scorer | `flink` | `ray` |",
        "| --- | --- | --- |",
        "| `noop` | 34 700 ± 8 500; 37.0 ± 1.5; 0.43 | 34 700 ± 8 500; 37.0 ± 1.5; 0.43 \\* |",
        "| `onnx` | - | 34 700 ± 8 500; 37.0 ± 1.5; 0.43 |",
    ]
    assert "| `flink` | `onnx` | intended send time | 1.30 ± 0.20 | - | - |" in lines
    assert text.count("| intended send time |") == 1  # of the rate that is told, not of the one that warms up
    assert "| tf_serving (in-repo server) | `ray` | 2 000 | 1 900 | 0.950 | 450 | 600 |" in lines
    assert "| `onnx` | - | 16.2 ± 0.50 |" in lines
    assert "- The relay moves 80 000 ± 0 events/s for 5.80 ± 0 µs of CPU each." in lines
    assert (
        "- At 2 048 events/s of 3 KB for 20 s, cores: generator 0.11, sink 0.090; ms: due to input append p99 3.2,"
        " at most 8.0, received minus due p50 0.45, p99 -."
    ) in lines


def test_what_was_not_measured_has_no_section(results):
    for name in ("speed.json", "servers.json", paths.table(".", "throughput")):
        (results / name).unlink()
    assert report(results).returncode == 0
    text = (results / "page.md").read_text()
    assert "## Latency" in text and text.count("## ") == 1


def test_a_page_without_markers_and_an_empty_folder_are_errors(results, tmp_path):
    done = report(results, "# Title\n")
    assert done.returncode == 1 and "needs the markers" in done.stderr and "Traceback" not in done.stderr
    assert (results / "page.md").read_text() == "# Title\n"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "make benchmark" in report(empty).stderr


def test_the_page_of_the_checkout_has_the_markers(results):
    assert report(results, (ROOT / "docs/performance.md").read_text()).returncode == 0


RESOLUTION = """
import json, sys
import numpy as np, polars as pl, resolution
noise, rows = np.random.default_rng(1), []
for number in range(1, 7):
    drift = noise.normal(0, 0.2)
    for twin, added in ((0, 0.0), (1, 0.0), (0, 3.0), (0, 9.0)):
        rate = 30_000 * np.exp(drift + noise.normal(0, 0.02)) / (1 + added / 30)
        rows.append({"processor": "flink", "twin": twin, "added_us": added, "repetition": number,
                     "throughput_events_per_s": rate})
print(json.dumps(resolution.resolution(pl.DataFrame(rows))))
"""


def test_what_is_told_apart_is_the_share_of_choices_of_rounds(results):
    environment = {"PYTHONPATH": f"{SCRIPTS}:{ROOT / 'benchmarks'}"}
    done = subprocess.run([sys.executable, "-c", RESOLUTION], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    ranked = {(row["kind"], row["rounds"]): row["ranked"] for row in rows}
    slower = {row["kind"]: row["slower"] for row in rows}
    assert ranked["A/A", 3] < 0.2 and ranked["added 9 us", 3] == 1  # though the rounds differ by 20 %
    assert ranked["added 3 us", 3] <= ranked["added 3 us", 6] == 1
    assert slower["added 9 us"] == pytest.approx(0.23, abs=0.03)
    assert {row["choices"] for row in rows if row["rounds"] == 3} == {20}
    (results / "resolution.json").write_text(json.dumps({"machine": "2 cores", "rows": rows}))
    assert report(results).returncode == 0
    assert "| `flink` | added 9 us | 24% | 100% |" in (results / "page.md").read_text()


@pytest.mark.parametrize("program", sorted(file.stem for file in (ROOT / "benchmarks").glob("*.py")))
def test_a_benchmark_can_be_imported(program):
    command = [sys.executable, "-c", f"import {program}"]
    environment = {"PYTHONPATH": f"{SCRIPTS}:{ROOT / 'benchmarks'}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_pair_of_a_server_and_a_processor_has_a_run_spec():
    program = (
        "import servers; from crayfish.spec import discovery\n"
        "for scorer in discovery.names('scorers'):\n"
        "    if discovery.scorer(scorer).external:\n"
        "        for processor in servers.asynchronous_processors():\n"
        "            print(processor, scorer, servers.is_made(servers.spec_of(processor, scorer, 16, 20.0)))\n"
    )
    environment = {"PYTHONPATH": f"{SCRIPTS}:{ROOT / 'benchmarks'}"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {line.split()[1] for line in done.stdout.splitlines()} == {
        name for name in discovery.names("scorers") if discovery.scorer(name).external
    }
