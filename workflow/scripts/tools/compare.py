"""Compare two results folders: a table of ratios with 95 % confidence intervals, the warnings, and what differs
between the machines.

`compare.py FIRST SECOND` takes every run that both hold; a ratio is second / first, over the repetitions of each. One
whose interval holds 1 is no significant difference. There is none where a repetition measured 0, or where the two were
offered different rates. Prints Markdown. Reads each run's summary.json and manifest.json.
"""

import argparse
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from crayfish.spec import errors, metrics
from crayfish.spec.errors import CrayfishError

SAME_RATE = 0.01  # rates that differ by less are the same
Segment = tuple[str, int]  # run and number


@dataclass
class Measured:
    """What a results folder holds."""

    values: dict[tuple[str, int, str], list[float]] = field(default_factory=dict)  # a value for each repetition
    rates: dict[Segment, list[float]] = field(default_factory=dict)  # offered, of paced loads
    warnings: dict[Segment, dict[str, int]] = field(default_factory=dict)  # text -> in how many repetitions
    setup: dict[str, set[str]] = field(default_factory=dict)


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


def read(results: Path) -> Measured:
    """The metrics and warnings of a results folder, and what its runs' manifests say of the machine and of what was
    installed.

    Raises CrayfishError where no run lies in it.
    """
    found = Measured()
    for file in sorted(results.glob("runs/*/*/summary.json")):
        summary, manifest = json.loads(file.read_text()), json.loads((file.parent / "manifest.json").read_text())
        for number, segment in enumerate(summary["segments"], start=1):
            key = summary["run"], number
            for text in [*summary["warnings"], *segment["warnings"]]:
                counts = found.warnings.setdefault(key, {})
                counts[text] = counts.get(text, 0) + 1
            if "failed" in summary:
                continue
            if rate := offered_rate(segment):
                found.rates.setdefault(key, []).append(rate)
            for name, value in compared_metrics(segment).items():
                if value is not None:
                    found.values.setdefault((*key, name), []).append(value)
        if "failed" not in summary:
            for name, text in setup_of(manifest).items():
                found.setup.setdefault(name, set()).add(text)
    if not found.values:
        raise CrayfishError(
            f"{results}: holds no summary of a run (runs/RUN/REPETITION/summary.json): give a results folder, such as"
            " results"
        )
    return found


def offered_rate(segment: dict) -> float | None:
    """The rate of a paced load, events/s; None of a backlog and of a search."""
    searched = "sustainable_events_per_s" in segment or segment["load"]["kind"] in ("backlog", "search")
    return None if searched else segment["load"]["rate"]


def setup_of(manifest: dict) -> dict[str, str]:
    """Hardware, kernel, Java, Kafka, commit and packages of one run, flat."""
    machine = {name: manifest["machine"].get(name) for name in ("cpu", "cores", "memory_bytes", "kernel", "system")}
    parts = {**machine, "java": (manifest.get("java") or {}).get("version"), "kafka": manifest.get("kafka")}
    parts["commit"] = (manifest.get("git") or {}).get("commit")
    for environment in manifest.get("environments", []):
        for package, version in environment["packages"].items():
            parts[f"{environment['environment']}: {package}"] = version
    return {name: str(value) for name, value in parts.items() if value is not None}


def rates_differ(first: Measured, second: Measured, key: Segment) -> str:
    """What was offered, where that differs, as where it is a fraction of what each folder's search has found."""
    rates = [sum(each.rates[key]) / len(each.rates[key]) for each in (first, second) if key in each.rates]
    if len(rates) < 2 or math.isclose(*rates, rel_tol=SAME_RATE):
        return ""
    return f"not compared: offered {rates[0]:.4g} and {rates[1]:.4g} events/s"


def ratio_cells(values: list[list[float]]) -> tuple[str, str]:
    """Ratio and interval."""
    if min(map(min, values)) <= 0:
        zeros = [f"{sum(value <= 0 for value in each)} of {len(each)}" for each in values]
        return "-", f"0 in {zeros[0]} and {zeros[1]} repetitions"
    ratio = metrics.ratio_interval(*values)
    return f"{ratio.mean:.2f}", "-" if ratio.low is None else f"{ratio.low:.2f} to {ratio.high:.2f}"


def ratio_rows(first: Measured, second: Measured) -> list[str]:
    """A Markdown row for every metric that both have."""
    rows = []
    for run, segment, name in sorted(first.values.keys() & second.values.keys()):
        values = [each.values[run, segment, name] for each in (first, second)]
        means = " | ".join(f"{metrics.mean_interval(each).mean:.4g}" for each in values)
        different = rates_differ(first, second, (run, segment))
        ratio, interval = ("-", different) if different else ratio_cells(values)
        rows.append(f"| {run} | {segment} | {name} | {means} | {ratio} | {interval} |")
    return rows


def warning_rows(first: Measured, second: Measured) -> list[str]:
    """A Markdown row for every warning of either folder, with how many repetitions have it."""
    return [
        f"| {run} | {segment} | {text} | {counts[0].get(text, 0)} | {counts[1].get(text, 0)} |"
        for run, segment in sorted(first.warnings.keys() | second.warnings.keys())
        for counts in [[each.warnings.get((run, segment), {}) for each in (first, second)]]
        for text in dict.fromkeys([*counts[0], *counts[1]])
    ]


def comparison(first: Path, second: Path) -> str:
    """What is printed of two results folders. Raises CrayfishError where one holds no run."""
    measured, other = read(first), read(second)
    lines = ["| run | segment | metric | first | second | ratio | 95 % CI |", "|---|---|---|---|---|---|---|"]
    lines += ratio_rows(measured, other) or ["| (no run is in both) | | | | | | |"]
    runs, other_runs = ({run for run, _, _ in each.values} for each in (measured, other))
    for name, only in (("first", runs - other_runs), ("second", other_runs - runs)):
        if only:
            lines.append(f"\nOnly in the {name}: {', '.join(sorted(only))}")
    if warned := warning_rows(measured, other):
        lines += ["\n| run | segment | warning | first | second |", "|---|---|---|---|---|", *warned]
    lines += ["\n| differs | first | second |", "|---|---|---|"]
    setup, other_setup = (
        {key: ", ".join(sorted(texts)) for key, texts in each.setup.items()} for each in (measured, other)
    )
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
