"""Compare two results folders: a table of ratios with 95 % intervals, and what differs between the two machines.

`compare.py FIRST SECOND` takes every run that both hold; a ratio is second / first, over the repetitions of each. One
whose interval holds 1 is no difference. Prints Markdown. Needs the runs' summary.json and manifest.json alone.
"""

import argparse
import json
from pathlib import Path

from crayfish.spec import errors, metrics
from crayfish.spec.errors import CrayfishError

Figures = dict[tuple[str, int, str], list[float]]  # run, segment, figure -> its value in each repetition


def figures_of(segment: dict) -> dict[str, float | None]:
    """What is compared of a segment: of a search the rate that it found, since latency at two rates is no comparison;
    else throughput of a backlog, latency of a paced load, and the cost of both."""
    if "sustainable_events_per_s" in segment:
        return {"sustainable, events/s": segment["sustainable_events_per_s"]}
    latency = segment["latency_ms"].get("received_minus_due") or {}
    saturated = segment["load"]["kind"] == "backlog"
    return {
        "events/s": segment["throughput"]["events_per_s"] if saturated else None,
        "p50, ms": latency.get("p50"),
        "p99, ms": latency.get("p99"),
        "processor CPU, us an event": segment["cpu_us_per_event"].get("processor"),
    }


def read(results: Path) -> tuple[Figures, dict[str, str]]:
    """The figures of a results folder, and what its runs' manifests say of the machine and of what was installed."""
    figures: Figures = {}
    about: dict[str, set[str]] = {}
    for file in sorted(results.glob("runs/*/*/summary.json")):
        summary, manifest = json.loads(file.read_text()), json.loads((file.parent / "manifest.json").read_text())
        for number, segment in enumerate(summary["segments"], start=1):
            for name, value in figures_of(segment).items():
                if value:
                    figures.setdefault((summary["run"], number, name), []).append(value)
        for name, value in described(manifest).items():
            about.setdefault(name, set()).add(value)
    if not figures:
        raise CrayfishError(f"{results}: no summary of a run lies in it (runs/RUN/REPETITION/summary.json)")
    return figures, {name: ", ".join(sorted(values)) for name, values in about.items()}


def described(manifest: dict) -> dict[str, str]:
    """Hardware, kernel, Java, Kafka, commit and packages of one run, flat."""
    machine = {name: manifest["machine"].get(name) for name in ("cpu", "cores", "memory_bytes", "kernel", "system")}
    parts = {**machine, "java": (manifest.get("java") or {}).get("version"), "kafka": manifest.get("kafka")}
    parts["commit"] = (manifest.get("git") or {}).get("commit")
    for environment in manifest.get("environments", []):
        for package, version in environment["packages"].items():
            parts[f"{environment['environment']}: {package}"] = version
    return {name: str(value) for name, value in parts.items() if value is not None}


def ratio_rows(first: Figures, second: Figures) -> list[str]:
    """A Markdown row for every figure that both have."""
    rows = []
    for run, segment, name in sorted(first.keys() & second.keys()):
        values = first[run, segment, name], second[run, segment, name]
        ratio = metrics.ratio_interval(*values)
        interval = "-" if ratio.low is None else f"{ratio.low:.2f} to {ratio.high:.2f}"
        means = " | ".join(f"{metrics.t_interval(each).mean:.4g}" for each in values)
        rows.append(f"| {run} | {segment} | {name} | {means} | {ratio.mean:.2f} | {interval} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path, help="a results folder, such as results")
    parser.add_argument("second", type=Path, help="the other machine's")
    arguments = parser.parse_args()
    (first, about), (second, other) = read(arguments.first), read(arguments.second)
    print("| run | segment | figure | first | second | ratio | 95 % interval |\n|---|---|---|---|---|---|---|")
    print("\n".join(ratio_rows(first, second)) or "| (no run is in both) | | | | | | |")
    only = [{run for run, _, _ in one} - {run for run, _, _ in two} for one, two in ((first, second), (second, first))]
    for where, runs in zip(("first", "second"), only, strict=True):
        if runs:
            print(f"\nOnly in the {where}: {', '.join(sorted(runs))}")
    print("\n| what differs | first | second |\n|---|---|---|")
    for name in sorted(about.keys() | other.keys()):
        if about.get(name) != other.get(name):
            print(f"| {name} | {about.get(name, '-')} | {other.get(name, '-')} |")


if __name__ == "__main__":
    errors.main(main)
