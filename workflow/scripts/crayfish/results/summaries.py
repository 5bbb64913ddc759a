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
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from crayfish.spec import metrics
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import Segment
from crayfish.spec.samples import machine_during

SHORTEST_WINDOW = 0.9  # of the measured time that was asked for
MOST_GROWTH = 0.01  # of a backlog, as a fraction of the input rate
MOST_GENERATION = 0.1  # of the median latency, before an event is in the input topic
APPEND_ERROR_MS = 0.5  # of an append time (metrics.appended_ns)
NS_PER_MS = 1_000_000
MOST_UNCERTAINTY_MS = 1.0  # of the offset of a broker's clock, before what is told by two clocks is left out
CROSSING = ("append_minus_due", "append_minus_sent", "generation", "delivery")  # latencies by the run's and its clock
LARGEST_LOG = 50.0  # of a change: more than that overflows, and is as good as infinite
Columns = dict[str, np.ndarray]
PRODUCER = ("sequence", "segment", "due_ns", "sent_ns", "input_append_ms", "partition")
CONSUMER = ("sequence", "output_append_ms", "received_ns", "correct")


# --- events -----------------------------------------------------------------------------------------------------------


def read_columns(path: Path, names: tuple[str, ...]) -> Columns:
    """Columns of a parquet file as arrays; CrayfishError if the file cannot be read or one is missing."""
    try:
        table = pq.read_table(path, columns=list(names))
    except (OSError, ValueError) as error:
        raise CrayfishError(
            f"{path}: cannot be read as a table: {error}; remove the run's folder and run it again"
        ) from error
    if missing := [name for name in names if name not in table.column_names]:
        raise CrayfishError(
            f"{path}: no column {', '.join(missing)}; it holds: {', '.join(table.column_names)}; remove the run's"
            " folder and run it again"
        )
    return {name: table[name].to_numpy() for name in names}


def join(producer: Columns, consumer: Columns) -> Columns:
    """Every event with its first prediction, in order of sequence: output_append_ms and received_ns, -1 where lost."""
    order = np.argsort(producer["sequence"], kind="stable")
    events = {name: values[order] for name, values in producer.items()}
    sequence = events["sequence"]
    received, first = np.unique(consumer["sequence"], return_index=True)
    position = np.searchsorted(sequence, received)
    known = position < len(sequence)
    known[known] = sequence[position[known]] == received[known]
    events["answered"] = np.zeros(len(sequence), bool)
    events["answered"][position[known]] = True
    for name in ("output_append_ms", "received_ns"):
        events[name] = np.full(len(sequence), -1, np.int64)
        events[name][position[known]] = consumer[name][first[known]]
    return events


def by_the_runs_clock(events: Columns, offset_ms: float) -> Columns:
    """The events with append times by the run's clock, of a broker whose clock is so much ahead of it; in whole ms."""
    shift = round(offset_ms)
    names = ("input_append_ms", "output_append_ms")
    return {**events, **{name: np.where(events[name] < 0, events[name], events[name] - shift) for name in names}}


def select(columns: Columns, rows: np.ndarray | slice) -> Columns:
    """These rows of every column."""
    return {name: values[rows] for name, values in columns.items()}


def measured_window(load: Segment, segment: dict, events: Columns, instances: int) -> tuple[int, int]:
    """Start and end of the measured window, ns. instances: how many of them share the partitions."""
    start_ns, end_ns = segment["load_start_ns"], segment["end_ns"]
    answered = events["answered"]
    if not load.saturated or not answered.any():
        return start_ns, end_ns
    appended, left = events["output_append_ms"][answered], np.unique(events["partition"][~answered])
    busy_ms = metrics.always_busy_until(appended, events["partition"][answered], left, instances)
    window_ms = metrics.drained_window(appended, start_ns / NS_PER_MS, min(busy_ms, end_ns / NS_PER_MS), load.measure_s)
    return math.ceil(window_ms[0]) * NS_PER_MS, math.floor(window_ms[1]) * NS_PER_MS


def measured_events(load: Segment, events: Columns, start_ns: int, end_ns: int) -> Columns:
    """The events of the measured window: those due in it or, of a backlog, those whose prediction was appended in it,
    its ends included."""
    if load.saturated:
        appended_ns = events["output_append_ms"] * NS_PER_MS
        return select(events, events["answered"] & (appended_ns >= start_ns) & (appended_ns <= end_ns))
    return select(events, (events["due_ns"] >= start_ns) & (events["due_ns"] < end_ns))


# --- the metrics of one segment ---------------------------------------------------------------------------------------


def latencies(answered: Columns) -> dict[str, np.ndarray]:
    """The latency of each event, float[n] in ms, of events that were answered and received while they came; and its
    three parts, whose sum it is, where the append times of the input are known.

    The broker truncates its append times to 1 ms. The parts take the middle of that millisecond (metrics.appended_ns);
    append - due does not, and reads up to 1 ms too low (half of it in the mean).
    """
    due, received = answered["due_ns"], answered["received_ns"]
    whole = {
        "received_minus_due": (received - due) / NS_PER_MS,
        "append_minus_due": (answered["output_append_ms"] * NS_PER_MS - due) / NS_PER_MS,
    }
    if (generation := metrics.lateness_ms(due, answered["input_append_ms"])) is None:
        return whole
    return {
        **whole,
        "generation": generation,
        "processing": (answered["output_append_ms"] - answered["input_append_ms"]).astype(float),
        "delivery": (received - metrics.appended_ns(answered["output_append_ms"])) / NS_PER_MS,
    }


def paper_latency(events: Columns) -> np.ndarray:
    """The original's latency, append - sent in whole ms, as its producer stamps its events too; of all answered events
    but the first quarter of those that were sent, float[n]."""
    kept = select(events, metrics.paper_window(len(events["sequence"])))
    kept = select(kept, kept["answered"])
    return (kept["output_append_ms"] - metrics.truncated_ms(kept["sent_ns"])).astype(float)


def paper_throughput(events: Columns) -> float | None:
    """The original's throughput: from the first to the last append, of all predictions but the first quarter."""
    appended = np.sort(events["output_append_ms"][events["answered"]])
    return metrics.throughput(appended[metrics.paper_window(len(appended))])


def lateness(window: Columns, bound_ms: float) -> dict[str, float | None] | None:
    """How long after their intended send times the events were in the input topic; None if that is unknown."""
    late_ms = metrics.lateness_ms(window["due_ns"], window["input_append_ms"])
    if late_ms is None or not len(late_ms):
        return None
    p99 = metrics.percentile(np.sort(late_ms), metrics.PER_MILLE["p99"])
    share = metrics.late_share(late_ms, bound_ms)
    return {"p99_ms": p99, "max_ms": float(late_ms.max()), "late_share": share, "bound_ms": bound_ms}


def median_trend(window: Columns, start_ns: int, end_ns: int) -> dict[str, Any] | None:
    """How the median latency changes over the window, by a line through the logarithms of its blocks' medians."""
    edges = np.searchsorted(window["due_ns"], np.linspace(start_ns, end_ns, metrics.BLOCKS + 1))
    latency = np.where(window["answered"], window["received_ns"] - window["due_ns"], 0) / NS_PER_MS
    blocks = [latency[first:last] for first, last in itertools.pairwise(edges)]
    medians = [float(np.median(block[block > 0])) for block in blocks if (block > 0).any()]
    if len(medians) < metrics.LEAST_BLOCKS:
        return None
    logs = np.log(medians)
    line = metrics.slope(np.arange(len(logs), dtype=float), logs)
    mean, low, high = (math.expm1(min((part or 0.0) * (len(logs) - 1), LARGEST_LOG)) for part in line[:3])
    change = metrics.Interval(mean, low, high, line.n)
    middle, span = float(np.mean(logs)), line.mean * (len(logs) - 1)
    ends = {"first_ms": math.exp(middle - span / 2), "last_ms": math.exp(middle + span / 2)}
    return {**trend_of(change), **ends}


def throughput_trend(window: Columns, start_ns: int, end_ns: int) -> dict[str, Any] | None:
    """How the throughput of a backlog's window changes over it."""
    edges = np.linspace(start_ns, end_ns, metrics.BLOCKS + 1) / NS_PER_MS
    if not len(window["sequence"]) or start_ns >= end_ns:
        return None
    return trend_of(metrics.trend(np.histogram(window["output_append_ms"], edges)[0]))


def trend_of(change: metrics.Interval) -> dict[str, Any]:
    """A relative change over the window as the summary holds it."""
    return {"change": change.mean, "low": change.low, "high": change.high, "drifts": metrics.drifts(change)}


def backlog_growth(events: Columns, start_ns: int, end_ns: int) -> dict[str, Any] | None:
    """The slope of the segment's backlog over the window, events/s, sampled ten times a second."""
    if (events["input_append_ms"] < 0).any():
        return None
    at_ms = np.arange(start_ns // NS_PER_MS, end_ns // NS_PER_MS, 100)
    if len(at_ms) < metrics.LEAST_BLOCKS:
        return None
    waiting = metrics.backlog(events["input_append_ms"], events["output_append_ms"][events["answered"]], at_ms)
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


def recoveries(load: Segment, segment: dict, answered: Columns) -> list[float | None]:
    """Of every burst, the recovery time in s."""
    due_s = (answered["due_ns"] - segment["start_ns"]) / 1e9
    latency = latencies(answered)["received_minus_due"]
    return [metrics.recovery_time(due_s, latency, start, end, until) for start, end, until in stretches(load)]


def outages(load: Segment, segment: dict, answered: Columns) -> list[float | None]:
    """Of every burst, the longest time from then on without a prediction, s."""
    appended_s = np.sort(answered["output_append_ms"] - segment["start_ns"] / NS_PER_MS) / 1000
    return [metrics.outage(appended_s, start, until) for start, _, until in stretches(load)]


def series(segment: dict, events: Columns) -> dict[str, list]:
    """The whole segment second by second, its warm-up too; the latency is received minus due."""
    answered, start_ns = events["answered"], segment["start_ns"]
    latency = np.where(answered, (events["received_ns"] - events["due_ns"]) / NS_PER_MS, np.nan)
    appended_s = (events["output_append_ms"][answered] - start_ns / NS_PER_MS) / 1000
    due_s = (events["due_ns"] - start_ns) / 1e9
    return metrics.per_second(due_s, latency, appended_s, int((segment["end_ns"] - start_ns) / 1e9))


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


def summarise_segment(
    load: Segment,
    segment: dict,
    events: Columns,
    samples: dict,
    bound_ms: float,
    instances: int,
    one_clock: bool = True,
) -> dict[str, Any]:
    """The metrics of one segment. one_clock: whether append times compare with the others."""
    saturated, points = load.saturated, segment["points_per_event"]
    start_ns, end_ns = measured_window(load, segment, events, instances)
    window = measured_events(load, events, start_ns, end_ns)
    answered, appended = select(window, window["answered"]), events["output_append_ms"][events["answered"]]
    if saturated:
        rate = metrics.throughput(answered["output_append_ms"])
    else:
        rate = metrics.throughput_within(appended, start_ns, end_ns)
    latency = {} if saturated else {**latencies(answered), "append_minus_sent": paper_latency(events)}
    if not one_clock:
        latency = {name: values for name, values in latency.items() if name not in CROSSING}
    busy_ns = min(end_ns, int(appended.max(initial=0)) * NS_PER_MS)  # from the last answer on, the stages may stop
    summary = {
        "load": vars(load),
        "events": len(events["sequence"]),
        "points_per_event": points,
        "warmup_extended_s": segment.get("warmup_extended_s", 0.0),
        "window_events": len(window["sequence"]),
        "window_s": (end_ns - start_ns) / 1e9,
        "throughput": {
            "events_per_s": rate,
            "points_per_s": None if rate is None else rate * points,
            "paper_events_per_s": paper_throughput(events),
        },
        "latency_ms": {name: metrics.latency_summary(values) for name, values in latency.items()},
        "latency_curve": metrics.quantile_curve(latency.get("received_minus_due", np.zeros(0))),
        "lateness": lateness(window, bound_ms) if one_clock and not saturated else None,
        "backlog": None if saturated else backlog_growth(events, start_ns, end_ns),
        "trend": (throughput_trend if saturated else median_trend)(window, start_ns, end_ns),
        "series": None if saturated else series(segment, events),
        "bursts_s": load.bursts,
        "recovery_s": [] if saturated else recoveries(load, segment, select(events, events["answered"])),
        "outage_s": [] if saturated else outages(load, segment, select(events, events["answered"])),
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
        "accounting": dict.fromkeys(metrics.accounting(*np.zeros((3, 0), int))),
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
    consumer = read_columns(folder / "consumer.parquet", CONSUMER)
    events = join(read_columns(folder / "producer.parquet", PRODUCER), consumer)
    clock = manifest.get("clock", {}).get("broker") or {"offset_ms": 0.0, "uncertainty_ms": 0.0}
    events, one_clock = by_the_runs_clock(events, clock["offset_ms"]), clock["uncertainty_ms"] <= MOST_UNCERTAINTY_MS
    spec, segments = manifest["spec"], []
    position = np.searchsorted(events["sequence"], consumer["sequence"])
    segment_of_row = events["segment"][np.minimum(position, len(events["sequence"]) - 1)]
    unseen = dict.fromkeys(manifest.get("given", ()))  # stages elsewhere: the run cannot see their CPU and memory
    warnings = [split_warning(text) for text in manifest["warnings"]]
    for number, about in result_segments(manifest):
        load = about["load"]
        own, rows = select(events, events["segment"] == number), segment_of_row == number
        summary = summarise_segment(
            Segment.noted(load), about, own, samples, spec["lateness_bound_ms"], spec["parallelism"], one_clock
        )
        counted = own["sequence"][own["answered"]] if load.get("at_most_s") else own["sequence"]
        summary["cpu_us_per_event"] |= unseen
        summary["accounting"] = metrics.accounting(counted, consumer["sequence"][rows], consumer["correct"][rows])
        summary["warnings"] += [text for segment, text in warnings if segment == number + 1]
        if fault := manifest.get("fault"):
            summary |= {name: fault[name] for name in ("detected_s", "restarted_s")}
        if found := manifest.get("search"):
            summary |= {"load": spec["segments"][0], "sustainable_events_per_s": found["sustainable_events_per_s"]}
            summary["sustainable_by_objective_ms"] = found.get("objectives_ms", {})
        segments.append(summary)
    if not one_clock:
        uncertain = f"the broker's clock is known to {clock['uncertainty_ms']:.1f} ms only"
        warnings.append((None, f"{uncertain}: latencies by its append times and another clock are left out"))
    # What older versions called a peak is what they found between the loads.
    memory = {name: each.get("pss_bytes", each.get("pss_bytes_peak")) for name, each in samples["stages"].items()}
    peaks = {stage: sampled.get("rss_bytes_peak") for stage, sampled in samples["stages"].items()}
    return {
        "run": folder.resolve().parent.name,
        "repetition": folder.resolve().name,
        "started_ns": manifest["segments"][0]["start_ns"],
        "spec": spec,
        "machine": manifest["machine"],
        "substitutes": manifest.get("substitutes", []),
        "fixed_cost_s": manifest["fixed_cost_s"],
        "warnings": [text for segment, text in warnings if segment is None],
        "accounting": metrics.accounting(events["sequence"], consumer["sequence"], consumer["correct"]),
        "memory_bytes": {**memory, **unseen},
        "peak_memory_bytes": {**peaks, **unseen},
        "segments": segments,
    }
