"""When a run has been repeated often enough: by the width of its intervals, never by who is ahead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from crayfish.results import variances


def headline(segment: dict) -> float | None:
    """A segment's headline metric: throughput of a backlog, the rate that a search found, else the median latency."""
    match segment["load"]["kind"]:
        case "backlog":
            return segment["throughput"]["events_per_s"]
        case "search":
            return segment.get("sustainable_events_per_s")
    return (segment["latency_ms"].get("received_minus_due") or {}).get("p50")


def too_wide(summaries: Iterable[dict], precision: float) -> list[str]:
    """The runs, sorted, of which some segment's interval is wider than that to each side, or is still missing; of those
    that were repeated most often, since the others need no more. The intervals are those of the tables, for which
    `summaries` has all of an experiment.

    Repetitions that failed, or that lack the metric, do not count; a segment that never had one needs no more of them.
    """
    values: dict[int, dict[str, list[float]]] = {}
    repeated: Counter[str] = Counter()
    for summary in summaries:
        repeated[summary["run"]] += 1
        for number, segment in enumerate(summary["segments"]):
            if (value := headline(segment)) is not None:
                values.setdefault(number, {}).setdefault(summary["run"], []).append(value)
    newest = {run for run, count in repeated.items() if count == max(repeated.values())}
    return sorted({run for alike in values.values() for run in _wide(alike, precision)} & newest)


def _wide(values: dict[str, list[float]], precision: float) -> Iterator[str]:
    """The runs whose interval is wider; values: run -> its metric in each repetition."""
    for run, (mean, low, high, _) in zip(values, variances.intervals(list(values.values())), strict=True):
        if low is None or high is None or (high - low) / 2 > precision * mean:
            yield run
