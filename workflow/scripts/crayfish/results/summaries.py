"""One run's per-event tables to its metrics: RUN/{manifest.json, processor.json, *.parquet} -> its summary.

One entry a segment; crayfish.spec.metrics defines each metric. Of a paced load the measured window is the time from the
end of its warm-up to its end: latency and lateness are of the events due in it, throughput and cost of the predictions
appended in it, whenever their events were due. Of a backlog it is a part of the drain (metrics.drained_window). The
paper's own metrics leave out the first quarter of the events instead. The accounting counts all that were sent. A
metric that the run cannot support is None. The manifest's warnings are carried over, and those about the measurement
itself are added.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

import numpy as np

from crayfish.results.outcomes import Columns, Room, blocks, select
from crayfish.results.outcomes import read as read_outcomes
from crayfish.spec import metrics
from crayfish.spec.run_spec import Segment
from crayfish.spec.samples import machine_during

SHORTEST_WINDOW = 0.9  # of the measured time that was asked for
MOST_GROWTH = 0.01  # of a backlog, as a fraction of the input rate
MOST_GENERATION = 0.1  # of the median latency, before an event is in the input topic
APPEND_ERROR_MS = 0.5  # of an append time (metrics.appended_ns)
NS_PER_MS = 1_000_000
MOST_UNCERTAINTY_MS = 1.0  # of the offset of a part's clock, before what is told by it and another is left out
LARGEST_LOG = 50.0  # of a change: more than that overflows, and is as good as infinite


# --- the metrics of one segment ---------------------------------------------------------------------------------------


def received_minus_due(rows: Columns) -> np.ndarray:
    """The latency of events that were answered and received while they came, float[n] in ms."""
    return (rows["received_ns"] - rows["due_ns"]) / NS_PER_MS


def append_minus_sent(rows: Columns) -> np.ndarray:
    """The original's latency in whole ms, as its producer stamps its events too."""
    return (rows["output_append_ms"] - metrics.truncated_ms(rows["sent_ns"])).astype(float)


# The latency, and its three parts, whose sum it is, where the append times of the input are known. The broker truncates
# its append times to 1 ms. The parts take the middle of that millisecond (metrics.appended_ns); append - due does not,
# and reads up to 1 ms too low (half of it in the mean).
LATENCIES: dict[str, Callable[[Columns], np.ndarray]] = {
    "received_minus_due": received_minus_due,
    "append_minus_due": lambda rows: (rows["output_append_ms"] * NS_PER_MS - rows["due_ns"]) / NS_PER_MS,
    "generation": lambda rows: (metrics.appended_ns(rows["input_append_ms"]) - rows["due_ns"]) / NS_PER_MS,
    "processing": lambda rows: (rows["output_append_ms"] - rows["input_append_ms"]).astype(float),
    "delivery": lambda rows: (rows["received_ns"] - metrics.appended_ns(rows["output_append_ms"])) / NS_PER_MS,
    "append_minus_sent": append_minus_sent,
}
TIMED = ("generation", "processing", "delivery")
# The parts by whose clocks each is told, where there are two.
CLOCKS = {
    "received_minus_due": {"generator", "sink"},
    "append_minus_due": {"generator", "broker"},
    "generation": {"generator", "broker"},
    "delivery": {"broker", "sink"},
    "append_minus_sent": {"generator", "broker"},
}


def latencies(room: Room, own: Columns, window: Columns, uncertain: Set[str]) -> dict[str, Any]:
    """The summaries of all latencies that the segment supports, and the curve of received - due. `own`: all of its
    events, of which the original's latency leaves out the first quarter, and counts the others."""
    timed = len(window["sequence"]) and window["input_append_ms"].min() >= 0
    found, curve = {}, metrics.quantile_curve(np.zeros(0))
    for name, of in LATENCIES.items():
        if (name in TIMED and not timed) or CLOCKS.get(name, set()) & uncertain:
            continue
        paper = name == "append_minus_sent"
        rows = select(own, metrics.paper_window(len(own["sequence"]))) if paper else window
        values = room.ordered(rows, of)
        found[name] = metrics.latency_summary(values)
        if name == "received_minus_due":
            curve = metrics.quantile_curve(values)
    return {"latency_ms": found, "latency_curve": curve}


def lateness(room: Room, window: Columns, bound_ms: float) -> dict[str, float | None] | None:
    """How long after their intended send times the events were in the input topic; None if that is unknown."""
    if not len(window["sequence"]) or window["input_append_ms"].min() < 0:
        return None
    late_ms = room.each(window, LATENCIES["generation"])
    late_ms.sort()
    p99, share = metrics.percentile(late_ms, metrics.PER_MILLE["p99"]), metrics.late_share(late_ms, bound_ms)
    return {"p99_ms": p99, "max_ms": float(late_ms[-1]), "late_share": share, "bound_ms": bound_ms}


def median_trend(due_ns: np.ndarray, latency_ms: np.ndarray, start_ns: int, end_ns: int) -> dict[str, Any] | None:
    """How the median latency changes over the window, by a line through the logarithms of its blocks' medians."""
    edges = np.searchsorted(due_ns, np.linspace(start_ns, end_ns, metrics.BLOCKS + 1, dtype=np.int64))
    parts = [latency_ms[first:last] for first, last in itertools.pairwise(edges)]
    medians = [float(np.median(part[part > 0])) for part in parts if (part > 0).any()]
    if len(medians) < metrics.LEAST_BLOCKS:
        return None
    logs = np.log(medians)
    line = metrics.slope(np.arange(len(logs), dtype=float), logs)
    mean, low, high = (math.expm1(min((part or 0.0) * (len(logs) - 1), LARGEST_LOG)) for part in line[:3])
    change = metrics.Interval(mean, low, high, line.n)
    middle, span = float(np.mean(logs)), line.mean * (len(logs) - 1)
    ends = {"first_ms": math.exp(middle - span / 2), "last_ms": math.exp(middle + span / 2)}
    return {**trend_of(change), **ends}


def throughput_trend(appended_ms: np.ndarray, start_ns: int, end_ns: int) -> dict[str, Any] | None:
    """How the throughput of a backlog's window changes over it, from the append times in it, in order."""
    if not len(appended_ms) or start_ns >= end_ns:
        return None
    edges = np.linspace(start_ns, end_ns, metrics.BLOCKS + 1) / NS_PER_MS
    return trend_of(metrics.trend(np.histogram(appended_ms, edges)[0]))


def trend_of(change: metrics.Interval) -> dict[str, Any]:
    """A relative change over the window as the summary holds it."""
    return {"change": change.mean, "low": change.low, "high": change.high, "drifts": metrics.drifts(change)}


def backlog_growth(
    room: Room, own: Columns, appended_ms: np.ndarray, start_ns: int, end_ns: int
) -> dict[str, Any] | None:
    """The slope of the segment's backlog over the window, events/s, sampled ten times a second."""
    at_ms = np.arange(start_ns // NS_PER_MS, end_ns // NS_PER_MS, 100)
    if len(at_ms) < metrics.LEAST_BLOCKS or own["input_append_ms"].min(initial=0) < 0:
        return None
    arrived_ms = room.each(own, lambda rows: rows["input_append_ms"], np.int64)
    arrived_ms.sort()
    waiting = metrics.backlog(arrived_ms, appended_ms, at_ms)
    slope = metrics.slope(at_ms / 1000, waiting)
    return {
        "slope_events_per_s": slope.mean,
        "low": slope.low,
        "high": slope.high,
        "max_events": int(waiting.max()),
        "grows": metrics.grows(slope),
    }


def stretches(load: Segment) -> list[tuple[float, float, float]]:
    """Of every burst, its start, its end, and until when what comes after it is its own: the next one, or the load's
    end; s from the segment's start."""
    limits = [*(start for start, _ in load.bursts), load.warmup_s + load.measure_s][1:]
    return [(start, end, until) for (start, end), until in zip(load.bursts, limits, strict=True)]


def paper_throughput(appended_ms: np.ndarray) -> float | None:
    """The original's throughput: from the first to the last append, of all predictions, in order, but the first
    quarter."""
    return metrics.throughput(appended_ms[metrics.paper_window(len(appended_ms))])


def costs(samples: dict, start_ns: int, end_ns: int, events_per_s: float | None) -> dict[str, float | None]:
    """CPU us an event of every stage: its CPU from start_ns to end_ns, by the events that were answered meanwhile."""
    events = (events_per_s or 0.0) * (end_ns - start_ns) / 1e9
    return {
        stage: metrics.cost_per_event(
            np.array(sampled["time_ns"]), np.array(sampled["cpu_s"]), start_ns, end_ns, events
        )
        for stage, sampled in samples["stages"].items()
    }


def generation_warnings(latency: dict[str, dict | None]) -> list[str]:
    """Where what comes before the processor is a large part of the median latency, as far as append times tell that."""
    generation, whole = ((latency.get(name) or {}).get("p50") for name in ("generation", "received_minus_due"))
    if generation is None or whole is None or generation - APPEND_ERROR_MS <= MOST_GENERATION * whole:
        return []
    return [
        f"generator and broker took {generation:.1f} ms (median) until an event was in the input topic, of a median"
        f" latency of {whole:.1f} ms"
    ]


def drift_warnings(summary: dict, load: Segment) -> list[str]:
    """What was not steady within the window: latency or, of a backlog, throughput; and a queue that still drains."""
    trend, growth, found = summary["trend"], summary["backlog"], []
    slope = growth["slope_events_per_s"] if growth else 0.0
    if growth and growth["grows"] and slope > MOST_GROWTH * load.rate:
        return [f"overloaded: the backlog grew by {slope:.0f} events/s"]
    if growth and growth["high"] < 0 and -slope >= metrics.DRIFT * load.rate:
        found.append(f"not steady: the backlog fell by {-slope:.0f} events/s within the window")
    if trend and trend["drifts"]:
        what = "throughput" if load.saturated else "the median latency"
        ends = "" if load.saturated else f", from {trend['first_ms']:.1f} to {trend['last_ms']:.1f} ms"
        way = "rose" if trend["change"] > 0 else "fell"
        found.append(f"not steady: {what} {way} by {abs(trend['change']):.0%} within the window{ends}")
    return found


def warnings_of(summary: dict, load: Segment) -> list[str]:
    """What makes a segment's metrics doubtful, as sentences for the tables and figures."""
    found = generation_warnings(summary["latency_ms"])
    if load.bursts:
        return found  # its series and recovery use all of the segment, and a burst may overload
    if summary["window_s"] < SHORTEST_WINDOW * load.measure_s:
        found.append(f"measured for {summary['window_s']:.1f} s instead of {load.measure_s:g} s")
    return found + drift_warnings(summary, load)


def drained(
    load: Segment, segment: dict, own: Columns, appended_ms: np.ndarray, instances: int
) -> tuple[int, int, dict[str, Any]]:
    """Of a backlog: start and end of the measured window, ns, and what was measured in it."""
    start_ns, end_ns, partitions = segment["load_start_ns"], segment["end_ns"], 1 + int(own["partition"].max(initial=0))
    if len(appended_ms):
        ends_ms, left = np.zeros(partitions, np.int64), np.zeros(partitions, bool)
        for rows in blocks(own):
            np.maximum.at(ends_ms, rows["partition"], rows["output_append_ms"])
            left[rows["partition"][rows["predictions"] == 0]] = True
        busy_ms = metrics.always_busy_until(ends_ms, left, instances)
        first_ms, last_ms = metrics.drained_window(
            appended_ms, start_ns / NS_PER_MS, min(busy_ms, end_ns / NS_PER_MS), load.measure_s
        )
        start_ns, end_ns = math.ceil(first_ms) * NS_PER_MS, math.floor(last_ms) * NS_PER_MS
    first, last = -(-start_ns // NS_PER_MS), end_ns // NS_PER_MS
    inside = appended_ms[np.searchsorted(appended_ms, first) : np.searchsorted(appended_ms, last, side="right")]
    measured: dict[str, Any] = {
        "window_events": len(inside),
        "events_per_s": metrics.throughput(inside),
        "trend": throughput_trend(inside, start_ns, end_ns),
        "latency_ms": {},
        "latency_curve": metrics.quantile_curve(np.zeros(0)),
        "lateness": None,
        "backlog": None,
        "series": None,
        "recovery_s": [],
        "outage_s": [],
    }
    return start_ns, end_ns, measured


def paced(
    room: Room,
    load: Segment,
    segment: dict,
    own: Columns,
    appended_ms: np.ndarray,
    bound_ms: float,
    uncertain: Set[str],
) -> tuple[int, int, dict[str, Any]]:
    """The same of a load whose events come when they are due."""
    begun_ns, start_ns, end_ns = (segment[name] for name in ("start_ns", "load_start_ns", "end_ns"))
    inside = slice(*np.searchsorted(own["due_ns"], (start_ns, end_ns)))
    window = select(own, inside)
    due_s = room.each(own, lambda rows: (rows["due_ns"] - begun_ns) / 1e9)
    appended_s = room.each({"ms": appended_ms}, lambda rows: (rows["ms"] - begun_ns / NS_PER_MS) / 1000)
    told = not CLOCKS["received_minus_due"] & uncertain
    latency_ms = room.each(
        own, lambda rows: np.where(told & (rows["predictions"] > 0), received_minus_due(rows), np.nan)
    )
    measured = {
        "window_events": len(window["sequence"]),
        "events_per_s": metrics.throughput_within(appended_ms, start_ns, end_ns),
        "trend": median_trend(window["due_ns"], latency_ms[inside], start_ns, end_ns),
        **latencies(room, own, window, uncertain),
        "lateness": None if CLOCKS["generation"] & uncertain else lateness(room, window, bound_ms),
        "backlog": backlog_growth(room, own, appended_ms, start_ns, end_ns),
        # The whole segment, its warm-up too; the latency is received minus due.
        "series": metrics.per_second(due_s, latency_ms, appended_s, int((end_ns - begun_ns) / 1e9)),
        "recovery_s": [metrics.recovery_time(due_s, latency_ms, *times) for times in stretches(load)],
        "outage_s": [metrics.outage(appended_s, start, until) for start, _, until in stretches(load)],
    }
    return start_ns, end_ns, measured


def summarise_segment(
    room: Room,
    load: Segment,
    segment: dict,
    own: Columns,
    samples: dict,
    bound_ms: float,
    instances: int,
    uncertain: Set[str],
) -> dict[str, Any]:
    """The metrics of one segment. own: its events; uncertain: parts whose clocks do not compare with the others."""
    points = segment["points_per_event"]
    appended_ms = room.ordered(own, lambda rows: rows["output_append_ms"], np.int64)
    if load.saturated:
        start_ns, end_ns, measured = drained(load, segment, own, appended_ms, instances)
    else:
        start_ns, end_ns, measured = paced(room, load, segment, own, appended_ms, bound_ms, uncertain)
    rate = measured.pop("events_per_s")
    last_ms = int(appended_ms[-1]) if len(appended_ms) else 0
    busy_ns = min(end_ns, last_ms * NS_PER_MS)  # from the last answer on, the stages may stop
    summary = {
        "load": vars(load),
        "events": len(own["sequence"]),
        "points_per_event": points,
        "warmup_extended_s": segment.get("warmup_extended_s", 0.0),
        "window_s": (end_ns - start_ns) / 1e9,
        "throughput": {
            "events_per_s": rate,
            "points_per_s": None if rate is None else rate * points,
            "paper_events_per_s": paper_throughput(appended_ms),
        },
        **measured,
        "bursts_s": load.bursts,
        "cpu_us_per_event": costs(samples, start_ns, busy_ns, rate),
        "machine": machine_during(samples, start_ns, busy_ns),
    }
    return {**summary, "warnings": warnings_of(summary, load)}


# --- the whole run ----------------------------------------------------------------------------------------------------


def split_warning(text: str) -> tuple[int | None, str]:
    """The segment that a manifest's warning is about, from 1, or None for the whole run, and its text."""
    match = re.match(r"segment (\d+): ", text)
    return (int(match[1]), text[match.end() :]) if match else (None, text)


def result_segments(manifest: dict) -> list[tuple[int, dict]]:
    """Number and description of each segment that is a result: of a search one probe alone, the highest that sustained
    a rate up to the one that it found (of older searches the last)."""
    numbered = list(enumerate(manifest["segments"]))
    if not (found := manifest.get("search")):
        return numbered
    return [numbered[found.get("segment", -1)]]


def hole(folder: Path, manifest: dict) -> dict[str, Any]:
    """The summary of a run that failed: what was run and, as `failed`, why it failed; every metric is None."""
    unmeasured = {
        "throughput": {"events_per_s": None, "points_per_s": None},
        "latency_ms": {},
        "lateness": None,
        "backlog": None,
        "window_s": None,
        "recovery_s": [],
        "outage_s": [],
        "cpu_us_per_event": {},
        "accounting": dict.fromkeys(metrics.accounting(np.zeros(0), np.zeros(0), 0)),
        "warnings": [f"failed: {manifest['failed'].strip().partition(chr(10))[0]}"],
    }
    return {
        "run": folder.resolve().parent.name,
        "repetition": folder.resolve().name,
        "spec": manifest["spec"],
        "machine": manifest["machine"],
        "substitutes": [],
        "failed": manifest["failed"],
        "fixed_cost_s": None,
        "batches": {},
        "warnings": [],
        "peak_memory_bytes": {},
        "segments": [{"load": without_fractions(load), **unmeasured} for load in manifest["spec"]["segments"]],
    }


def without_fractions(load: dict) -> dict:
    """A load without the rates that would have been fractions of one that was still to be found."""
    return {**load, "rate": None, "peak_rate": None, "of": ""} if load["of"] else load


def summarise(folder: Path) -> dict[str, Any]:
    """The summary of the run in this folder (RESULTS/runs/IDENTIFIER/REPETITION).

    Raises CrayfishError where a table of the run is broken.
    """
    manifest = json.loads((folder / "manifest.json").read_text())
    if "failed" in manifest:
        return hole(folder, manifest)
    samples = json.loads((folder / "processor.json").read_text())
    found = {part: clock for part, clock in manifest.get("clock", {}).items() if isinstance(clock, dict)}
    doubts = {
        part: abs(clock["offset_ms"]) * (part != "broker") + clock["uncertainty_ms"] for part, clock in found.items()
    }
    uncertain = {part for part, doubt_ms in doubts.items() if doubt_ms > MOST_UNCERTAINTY_MS}
    outcomes = read_outcomes(folder, found["broker"]["offset_ms"] if "broker" in found else 0.0)
    room = Room(folder)
    events, unknown = outcomes.columns, outcomes.unknown
    spec, segments = manifest["spec"], []
    unseen = dict.fromkeys(manifest.get("given", ()))  # stages elsewhere: the run cannot see their CPU and memory
    warnings = [split_warning(text) for text in manifest["warnings"]]
    for number, about in result_segments(manifest):
        load = about["load"]
        # Of the column's own kind: any other would copy the column.
        limits = np.array([number, number + 1], events["segment"].dtype)
        own = select(events, slice(*np.searchsorted(events["segment"], limits)))
        bound_ms, instances = spec["lateness_bound_ms"], spec["parallelism"]
        summary = summarise_segment(room, Segment.noted(load), about, own, samples, bound_ms, instances, uncertain)
        summary["cpu_us_per_event"] |= unseen
        accounting = metrics.accounting(own["predictions"], own["wrong"], unknown.get(number, 0))
        if load.get("at_most_s"):  # what was left of such a backlog is not lost
            accounting |= {"sent": accounting["distinct"], "lost": 0}
        summary["accounting"] = accounting
        summary["warnings"] += [text for segment, text in warnings if segment == number + 1]
        if fault := manifest.get("fault"):
            summary |= {name: fault[name] for name in ("detected_s", "restarted_s")}
        if found := manifest.get("search"):
            summary |= {"load": spec["segments"][0], "sustainable_events_per_s": found["sustainable_events_per_s"]}
            summary["sustainable_by_objective_ms"] = found.get("objectives_ms", {})
        segments.append(summary)
    warnings += [
        (None, f"the {part}'s clock is known to {doubts[part]:.1f} ms only: latencies by it and another are left out")
        for part in sorted(uncertain)
    ]
    # What older versions called a peak is what they found between the loads.
    memory = {name: each.get("pss_bytes", each.get("pss_bytes_peak")) for name, each in samples["stages"].items()}
    peaks = {stage: sampled.get("rss_bytes_peak") for stage, sampled in samples["stages"].items()}
    return {
        "run": folder.resolve().parent.name,
        "repetition": folder.resolve().name,
        "started_ns": manifest["segments"][0]["start_ns"],
        "spec": spec,
        "machine": manifest["machine"],
        "gpus": manifest.get("gpus", []),
        "substitutes": manifest.get("substitutes", []),
        "batches": manifest.get("batches", {}),
        "fixed_cost_s": manifest["fixed_cost_s"],
        "warnings": [text for segment, text in warnings if segment is None],
        "accounting": metrics.accounting(events["predictions"], events["wrong"], sum(unknown.values())),
        "memory_bytes": {**memory, **unseen},
        "peak_memory_bytes": {**peaks, **unseen},
        "segments": segments,
    }
