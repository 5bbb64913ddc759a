"""Compare two results folders: a table of ratios with 95 % confidence intervals, and what differs between the machines.

`compare.py FIRST SECOND` takes every run that both hold; a ratio is second / first, over the repetitions of each. One
whose interval holds 1 is no significant difference. Prints Markdown. Reads each run's summary.json and manifest.json.
"""

import argparse
import json
from pathlib import Path

from crayfish.spec import errors, metrics
from crayfish.spec.errors import CrayfishError

Measured = dict[tuple[str, int, str], list[float]]  # run, segment, metric -> its value in each repetition


def compared_metrics(segment: dict) -> dict[str, float | None]:
    """What is compared of a segment: of a search the rate that it found, since latency at two rates is no comparison;
    else throughput of a backlog, latency of a paced load, and the cost of both."""
    if "sustainable_events_per_s" in segment:
        return {"sustainable rate (events/s)": segment["sustainable_events_per_s"]}
    latency = segment["latency_ms"].get("received_minus_due") or {}
    saturated = segment["load"]["kind"] == "backlog"
    return {
        "throughput (events/s)": segment["throughput"]["events_per_s"] if saturated else None,
        "median latency (ms)": latency.get("p50"),
        "99th percentile of latency (ms)": latency.get("p99"),
        "CPU time of the processor per event (us)": segment["cpu_us_per_event"].get("processor"),
    }


def read(results: Path) -> tuple[Measured, dict[str, str]]:
    """The metrics of a results folder, and what its runs' manifests say of the machine and of what was installed.

    Raises CrayfishError where no run lies in it.
    """
    measured: Measured = {}
    setup: dict[str, set[str]] = {}
    for file in sorted(results.glob("runs/*/*/summary.json")):
        summary, manifest = json.loads(file.read_text()), json.loads((file.parent / "manifest.json").read_text())
        for number, segment in enumerate(summary["segments"], start=1):
            for name, value in compared_metrics(segment).items():
                if value:
                    measured.setdefault((summary["run"], number, name), []).append(value)
        for name, text in setup_of(manifest).items():
            setup.setdefault(name, set()).add(text)
    if not measured:
        raise CrayfishError(
            f"{results}: holds no summary of a run (runs/RUN/REPETITION/summary.json): give a results folder, such as"
            " results"
        )
    return measured, {name: ", ".join(sorted(texts)) for name, texts in setup.items()}


def setup_of(manifest: dict) -> dict[str, str]:
    """Hardware, kernel, Java, Kafka, commit and packages of one run, flat."""
    machine = {name: manifest["machine"].get(name) for name in ("cpu", "cores", "memory_bytes", "kernel", "system")}
    parts = {**machine, "java": (manifest.get("java") or {}).get("version"), "kafka": manifest.get("kafka")}
    parts["commit"] = (manifest.get("git") or {}).get("commit")
    for environment in manifest.get("environments", []):
        for package, version in environment["packages"].items():
            parts[f"{environment['environment']}: {package}"] = version
    return {name: str(value) for name, value in parts.items() if value is not None}


def ratio_rows(first: Measured, second: Measured) -> list[str]:
    """A Markdown row for every metric that both have."""
    rows = []
    for run, segment, name in sorted(first.keys() & second.keys()):
        values = first[run, segment, name], second[run, segment, name]
        ratio = metrics.ratio_interval(*values)
        interval = "-" if ratio.low is None else f"{ratio.low:.2f} to {ratio.high:.2f}"
        means = " | ".join(f"{metrics.t_interval(each).mean:.4g}" for each in values)
        rows.append(f"| {run} | {segment} | {name} | {means} | {ratio.mean:.2f} | {interval} |")
    return rows


def comparison(first: Path, second: Path) -> str:
    """What is printed of two results folders. Raises CrayfishError where one holds no run."""
    (measured, setup), (other_measured, other_setup) = read(first), read(second)
    lines = ["| run | segment | metric | first | second | ratio | 95 % CI |", "|---|---|---|---|---|---|---|"]
    lines += ratio_rows(measured, other_measured) or ["| (no run is in both) | | | | | | |"]
    runs, other_runs = ({run for run, _, _ in each} for each in (measured, other_measured))
    for name, only in (("first", runs - other_runs), ("second", other_runs - runs)):
        if only:
            lines.append(f"\nOnly in the {name}: {', '.join(sorted(only))}")
    lines += ["\n| differs | first | second |", "|---|---|---|"]
    for name in sorted(setup.keys() | other_setup.keys()):
        if setup.get(name) != other_setup.get(name):
            lines.append(f"| {name} | {setup.get(name, '-')} | {other_setup.get(name, '-')} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path, help="a results folder, such as results")
    parser.add_argument("second", type=Path, help="the other machine's")
    arguments = parser.parse_args()
    print(comparison(arguments.first, arguments.second))


if __name__ == "__main__":
    errors.main(main)
