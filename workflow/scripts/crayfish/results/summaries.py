"""One run's per-event tables to its metrics: RUN/{manifest.json, processor.json, *.parquet} -> its summary.

One entry a segment; crayfish.spec.metrics defines each metric. Only events of the measured window count in throughput,
latency, lateness and cost; the accounting counts all that were sent. A metric that the run cannot support is None. The
manifest's warnings are carried over, and those about the measurement itself are added.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from crayfish.spec import metrics
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import Segment

SHORTEST_WINDOW = 0.9  # of the measured time that was asked for
MOST_GROWTH = 0.01  # of a backlog, as a fraction of the input rate
NS_PER_MS = 1_000_000
Columns = dict[str, np.ndarray]
PRODUCER = ("sequence", "segment", "due_ns", "sent_ns", "input_append_ms")
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


def select(columns: Columns, rows: np.ndarray | slice) -> Columns:
    """These rows of every column."""
    return {name: values[rows] for name, values in columns.items()}


def measured_events(events: Columns, saturated: bool, warmup_end_ns: int) -> Columns:
    """The events of the measured window: by append order if saturated, else in order of their intended send times."""
    if saturated:
        answered = select(events, events["answered"])
        order = np.argsort(answered["output_append_ms"], kind="stable")
        window = metrics.measured_window(answered["output_append_ms"][order] * NS_PER_MS, warmup_end_ns)
        return select(answered, order[window])
    return select(events, metrics.measured_window(events["due_ns"], warmup_end_ns))


# --- the metrics of one segment ---------------------------------------------------------------------------------------


def latencies(answered: Columns) -> dict[str, np.ndarray]:
    """The three latencies, float[n] in ms, of events that were answered and received while they came.

    The broker truncates its append times to 1 ms: append - due reads up to 1 ms too low (half of it in the mean).
    append - sent is the original's: both in whole ms, as its producer stamps its events too.
    """
    appended, due, sent = answered["output_append_ms"], answered["due_ns"], answered["sent_ns"]
    return {
        "received_minus_due": (answered["received_ns"] - due) / NS_PER_MS,
        "append_minus_due": (appended * NS_PER_MS - due) / NS_PER_MS,
        "append_minus_sent": (appended - metrics.truncated_ms(sent)).astype(float),
    }


def lateness(window: Columns, bound_ms: float) -> dict[str, float | None] | None:
    """How long after their intended send times the generator sent the events; None of no event."""
    late_ms = (window["sent_ns"] - window["due_ns"]) / NS_PER_MS
    if not len(late_ms):
        return None
    p99 = metrics.percentile(np.sort(late_ms), metrics.PER_MILLE["p99"])
    share = metrics.late_share(late_ms, bound_ms)
    return {"p99_ms": p99, "max_ms": float(late_ms.max()), "late_share": share, "bound_ms": bound_ms}


def backlog_growth(events: Columns, window: Columns) -> dict[str, Any] | None:
    """The slope of the segment's backlog over the window, events/s, sampled ten times a second."""
    if not len(window["due_ns"]) or (events["input_append_ms"] < 0).any():
        return None
    first, last = metrics.truncated_ms(window["due_ns"][[0, -1]])
    at_ms = np.arange(first, last, 100)
    if len(at_ms) < 3:
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


def recoveries(load: Segment, segment: dict, answered: Columns) -> list[float | None]:
    """Of every burst, the recovery time in s."""
    bursts = load.bursts
    due_s = (answered["due_ns"] - segment["start_ns"]) / 1e9
    latency = latencies(answered)["received_minus_due"]
    limits = [*(start for start, _ in bursts), load.warmup_s + load.measure_s][1:]
    return [
        metrics.recovery_time(due_s, latency, start, end, until)
        for (start, end), until in zip(bursts, limits, strict=True)
    ]


def series(load: Segment, segment: dict, events: Columns) -> dict[str, list]:
    """The whole segment second by second, its warm-up too; the latency is received minus due."""
    answered, start_ns = events["answered"], segment["start_ns"]
    latency = np.where(answered, (events["received_ns"] - events["due_ns"]) / NS_PER_MS, np.nan)
    appended_s = (events["output_append_ms"][answered] - start_ns / NS_PER_MS) / 1000
    due_s = (events["due_ns"] - start_ns) / 1e9
    return metrics.per_second(due_s, latency, appended_s, int(load.warmup_s + load.measure_s))


def costs(samples: dict, appended_ms: np.ndarray) -> dict[str, float | None]:
    """CPU us an event of every stage, between the first and the last append of the window."""
    if not len(appended_ms):
        return dict.fromkeys(samples["stages"])
    start_ns, end_ns = int(appended_ms.min()) * NS_PER_MS, int(appended_ms.max()) * NS_PER_MS
    return {
        stage: metrics.cost_per_event(
            np.array(sampled["time_ns"]), np.array(sampled["cpu_s"]), start_ns, end_ns, len(appended_ms) - 1
        )
        for stage, sampled in samples["stages"].items()
    }


def warnings_of(summary: dict, load: Segment) -> list[str]:
    """What makes a segment's metrics doubtful, as sentences for the tables and figures."""
    if load.bursts:
        return []  # its series and recovery use all of the segment, and a burst may overload
    found, growth = [], summary["backlog"]
    window_s = summary["window_s"] + (0 if load.saturated else 1 / load.rate)  # the last event's time too
    if window_s < SHORTEST_WINDOW * load.measure_s:
        found.append(f"measured for {window_s:.1f} s instead of {load.measure_s:g} s")
    if growth and growth["grows"] and growth["slope_events_per_s"] > MOST_GROWTH * load.rate:
        found.append(f"overloaded: the backlog grew by {growth['slope_events_per_s']:.0f} events/s")
    return found


def summarise_segment(load: Segment, segment: dict, events: Columns, samples: dict, bound_ms: float) -> dict[str, Any]:
    """The metrics of one segment."""
    saturated = load.saturated
    window = measured_events(events, saturated, segment["load_start_ns"])
    answered = select(window, window["answered"])
    appended, rate = answered["output_append_ms"], metrics.throughput(answered["output_append_ms"])
    edges = appended * NS_PER_MS if saturated else window["due_ns"]
    latency = {} if saturated else latencies(answered)
    summary = {
        "load": vars(load),
        "events": len(events["sequence"]),
        "points_per_event": segment["points_per_event"],
        "window_events": len(window["sequence"]),
        "window_s": float(np.ptp(edges)) / 1e9 if len(edges) else 0.0,
        "throughput": {
            "events_per_s": rate,
            "points_per_s": None if rate is None else rate * segment["points_per_event"],
        },
        "latency_ms": {name: metrics.latency_summary(values) for name, values in latency.items()},
        "latency_curve": metrics.quantile_curve(latency.get("received_minus_due", np.zeros(0))),
        "lateness": None if saturated else lateness(window, bound_ms),
        "backlog": None if saturated else backlog_growth(events, window),
        "series": None if saturated else series(load, segment, events),
        "bursts_s": load.bursts,
        "recovery_s": [] if saturated else recoveries(load, segment, select(events, events["answered"])),
        "cpu_us_per_event": costs(samples, appended),
    }
    return {**summary, "warnings": warnings_of(summary, load)}


# --- the whole run ----------------------------------------------------------------------------------------------------


def split_warning(text: str) -> tuple[int | None, str]:
    """The segment that a manifest's warning is about, from 1, or None for the whole run, and its text."""
    match = re.match(r"segment (\d+): ", text)
    return (int(match[1]), text[match.end() :]) if match else (None, text)


def result_segments(manifest: dict) -> list[tuple[int, dict]]:
    """Number and description of each segment that is a result: of a search its last probe alone."""
    numbered = list(enumerate(manifest["segments"]))
    return numbered[-1:] if manifest.get("search") else numbered


def summarise(folder: Path) -> dict[str, Any]:
    """The summary of the run in this folder (RESULTS/runs/IDENTIFIER/REPETITION).

    Raises CrayfishError where a table of the run is broken.
    """
    manifest = json.loads((folder / "manifest.json").read_text())
    samples = json.loads((folder / "processor.json").read_text())
    consumer = read_columns(folder / "consumer.parquet", CONSUMER)
    events = join(read_columns(folder / "producer.parquet", PRODUCER), consumer)
    spec, segments = manifest["spec"], []
    position = np.searchsorted(events["sequence"], consumer["sequence"])
    segment_of_row = events["segment"][np.minimum(position, len(events["sequence"]) - 1)]
    unseen = dict.fromkeys(manifest.get("given", ()))  # stages elsewhere: the run cannot see their CPU and memory
    warnings = [split_warning(text) for text in manifest["warnings"]]
    for number, about in result_segments(manifest):
        load = about["load"]
        own, rows = select(events, events["segment"] == number), segment_of_row == number
        summary = summarise_segment(Segment(**load), about, own, samples, spec["lateness_bound_ms"])
        counted = own["sequence"][own["answered"]] if load.get("at_most_s") else own["sequence"]
        summary["cpu_us_per_event"] |= unseen
        summary["accounting"] = metrics.accounting(counted, consumer["sequence"][rows], consumer["correct"][rows])
        summary["warnings"] += [text for segment, text in warnings if segment == number + 1]
        if found := manifest.get("search"):
            summary |= {"load": spec["segments"][0], "sustainable_events_per_s": found["sustainable_events_per_s"]}
        segments.append(summary)
    peaks = {stage: sampled["pss_bytes_peak"] for stage, sampled in samples["stages"].items()}
    return {
        "run": folder.resolve().parent.name,
        "repetition": folder.resolve().name,
        "spec": spec,
        "machine": manifest["machine"],
        "substitutes": manifest.get("substitutes", []),
        "fixed_cost_s": manifest["fixed_cost_s"],
        "warnings": [text for segment, text in warnings if segment is None],
        "accounting": metrics.accounting(events["sequence"], consumer["sequence"], consumer["correct"]),
        "peak_memory_bytes": {**peaks, **unseen},
        "segments": segments,
    }
