"""When a run has been repeated often enough: by the width of its intervals, never by who is ahead."""

from __future__ import annotations

from collections.abc import Iterable

from crayfish.spec import metrics


def headline(segment: dict) -> float | None:
    """A segment's headline metric: throughput of a backlog, the rate that a search found, else the median latency."""
    match segment["load"]["kind"]:
        case "backlog":
            return segment["throughput"]["events_per_s"]
        case "search":
            return segment.get("sustainable_events_per_s")
    return (segment["latency_ms"].get("received_minus_due") or {}).get("p50")


def half_width(values: list[float]) -> float | None:
    """Half the width of a metric's 95 % interval over repetitions, float[n], as a share of its mean; None where there
    is no interval."""
    interval = metrics.mean_interval(values)
    if interval.low is None or interval.high is None:
        return None
    return (interval.high - interval.low) / 2 / interval.mean if interval.mean else 0.0


def too_wide(summaries: Iterable[dict], precision: float) -> list[str]:
    """The runs, sorted, of which some segment's interval is wider than that to each side, or is still missing.

    Repetitions that failed, or that lack the metric, do not count; a segment that never had one needs no more of them.
    """
    values: dict[str, dict[int, list[float]]] = {}
    for summary in summaries:
        own = values.setdefault(summary["run"], {})
        for number, segment in enumerate(summary["segments"]):
            if (value := headline(segment)) is not None:
                own.setdefault(number, []).append(value)

    def wide(measured: list[float]) -> bool:
        width = half_width(measured)
        return width is None or width > precision

    return sorted(run for run, segments in values.items() if any(map(wide, segments.values())))
