"""Summaries of runs to one table. A column's name tells its unit; an empty cell is a metric that is undefined.

The parts: `means`, one row a system, load and segment, with the mean over its repetitions in each metric's column and
its 95 % confidence interval in METRIC_low and METRIC_high (empty where one repetition lacks the metric; counts of
events are sums over the repetitions): the geometric mean and Student's t on logarithms, with a variance that is shrunk
towards that of all rows under the same load (crayfish.results.variances), of metrics that can be 0 or negative on the
plain values; `runs` and `repetitions`, the same columns without intervals, one row a repetition, with
its round and its position among the runs of that round;
`series`, one row a second of every paced segment, with the burst that began last and how long the system took to
recover from it; `curves`, one row a quantile of the latency. Series and curves hold means and intervals too, of each
system's own variance.
Repetitions that failed do not count, and a warning names them; where all failed, the row has 0 repetitions and no
metric. The columns are in this order: experiment, what was run (segment last), repetitions (or repetition, round,
position), the metrics, then warnings, substitutes, machine, run (the folder's name).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import polars as pl
from polars import selectors

from crayfish.results import looks, variances
from crayfish.results.tables import GPU, TEXTS
from crayfish.spec import metrics
from crayfish.spec.errors import CrayfishError

SYSTEM = ("processor", "scorer", "model", "parallelism")  # the first columns after the experiment
LOAD_COLUMNS = {
    "kind": "load",
    "rate": "rate_events_per_s",
    "peak_rate": "peak_rate_events_per_s",
    "of": "rates_of",
    "batch_size": "points_per_event",
}
LATENCY_COLUMNS = {
    "received_minus_due": "latency",
    "append_minus_due": "append_minus_due",
    "append_minus_sent": "append_minus_sent",
}
LATENCY_PARTS = ("generation", "processing", "delivery")
PART_STATISTICS = ("p50", "p99", "mean")
SERIES_COLUMNS = {
    "due": "due_events_per_s",
    "appended": "appended_events_per_s",
    "p50_ms": "latency_p50_ms",
    "p99_ms": "latency_p99_ms",
}
SEARCHED_MS = ("100", "300", "1000")  # objectives that every search tells beside its own, ms
COUNTS = ("sent", "received", "distinct", "lost", "duplicated", "wrong")
FAILINGS = ("lost", "duplicated", "wrong")
STAGES_UNDER_TEST = ("processor", "server", "broker")  # producer and consumer are the instrument
BATCHING = {"engine": "wait_ms", "server": "queue_ms"}  # part that makes batches -> how it calls the wait for one
BATCH_STATISTICS = ("mean", "p50", "p99")
# Column without "gpu_", metric without it, and what the metric is divided by; of runs on GPUs alone.
GPU_METRICS = (("utilisation", "utilisation", 1), ("memory_mib", "memory_bytes", 2**20), ("clock_mhz", "clock_mhz", 1))
DIGITS = 6
Row = dict[str, Any]


# --- one segment of one run -------------------------------------------------------------------------------------------


def fields_of(spec: dict, segment: dict, number: int) -> Row:
    """What was run: the RunSpec's fields, the system's first, then the segment's load and its number, from 1."""
    names = [*SYSTEM, *sorted(name for name in spec if name not in (*SYSTEM, "segments", "own"))]
    load = {LOAD_COLUMNS.get(name, name): value for name, value in segment["load"].items()}
    if segment["load"]["kind"] in ("backlog", "search") or "sustainable_events_per_s" in segment:
        load["rate_events_per_s"] = None  # a pilot's, which only sized the backlog; or found, not given
    load["points_per_event"] = segment.get("points_per_event", load["points_per_event"])  # a trace's mean
    return {**{name: spec[name] for name in names}, **load, "segment": number}


def cost_metrics(segment: dict) -> Row:
    """CPU of each stage, and of all that is under test together."""
    costs = segment["cpu_us_per_event"]
    tested = [costs[stage] for stage in STAGES_UNDER_TEST if stage in costs]
    total = {"cpu_us_per_event": sum(tested) if tested and None not in tested else None}
    return {**{f"cpu_{stage}_us_per_event": value for stage, value in costs.items()}, **total}


def machine_metrics(segment: dict) -> Row:
    """What the machine did in the window, and the cost in terms that do not depend on its speed."""
    machine = segment.get("machine") or {}
    speed, instructions = machine.get("speed"), machine.get("instructions")
    cost, rate = cost_metrics(segment)["cpu_us_per_event"], segment["throughput"]["events_per_s"]
    events = rate * segment["window_s"] if rate else None
    gpu = {
        f"gpu_{name}": None if (value := machine[f"gpu_{told}"]) is None else value / factor
        for name, told, factor in GPU_METRICS
        if f"gpu_{told}" in machine
    }
    return {
        "cpu_reference_us_per_event": None if cost is None or speed is None else cost * speed,
        "instructions_per_event": instructions / events if instructions and events else None,
        "machine_speed": speed,
        "other_cores": machine.get("other_cores"),
        "stolen_cores": machine.get("stolen_cores"),
        **gpu,
    }


def metrics_of(summary: dict, segment: dict) -> Row:
    """The metrics of one segment of one run, flat, with units in their names."""
    row: Row = {f"throughput_{unit}": value for unit, value in segment["throughput"].items()}
    row["sustainable_events_per_s"] = segment.get("sustainable_events_per_s")
    for objective in SEARCHED_MS:
        found = segment.get("sustainable_by_objective_ms", {}).get(objective, {})
        row |= {f"sustainable_{objective}ms_events_per_s": found.get("rate")}
    for kind, name in LATENCY_COLUMNS.items():
        values = segment["latency_ms"].get(kind) or {}
        row |= {f"{name}_{part}_ms": values.get(part) for part in (*metrics.PER_MILLE, "max", "mean")}
    for kind in LATENCY_PARTS:
        values = segment["latency_ms"].get(kind) or {}
        row |= {f"latency_{kind}_{part}_ms": values.get(part) for part in PART_STATISTICS}
    lateness, backlog, recovered = segment["lateness"] or {}, segment["backlog"] or {}, segment["recovery_s"]
    row |= {
        "lateness_p99_ms": lateness.get("p99_ms"),
        "lateness_max_ms": lateness.get("max_ms"),
        "late_share": lateness.get("late_share"),
        "backlog_growth_events_per_s": backlog.get("slope_events_per_s"),
        "recovery_s": max(recovered) if recovered and None not in recovered else None,
        "window_s": segment["window_s"],
        "warmup_extended_s": segment.get("warmup_extended_s", 0.0),
        **cost_metrics(segment),
        **machine_metrics(segment),
    }
    # An older summary has only the memory between the loads, and calls it the peak.
    memory = {"memory": summary.get("memory_bytes", summary["peak_memory_bytes"])}
    memory["peak_memory"] = (
        summary["peak_memory_bytes"] if "memory_bytes" in summary else dict.fromkeys(memory["memory"])
    )
    for name, sizes in memory.items():
        row |= {f"{name}_{stage}_mib": None if size is None else size / 2**20 for stage, size in sizes.items()}
    return {**row, **batch_metrics(summary), "fixed_cost_s": summary["fixed_cost_s"]}


def batch_metrics(summary: dict) -> Row:
    """What the batches of each part that makes some reached over the whole run."""
    reached = summary.get("batches", {})
    return {
        f"{part}_batch_{name}": (reached.get(part) or {}).get(name)
        for part, wait in BATCHING.items()
        for name in (f"{what}_{statistic}" for what in ("size", wait) for statistic in BATCH_STATISTICS)
    }


def machine_name(machine: dict, gpus: list[dict]) -> str:
    """One line about the hardware, with the GPUs of a run that scored on some."""
    cores = f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_bytes'] / 2**30:.0f} GiB"
    return ", ".join([cores, *dict.fromkeys(f"{GPU} {gpu['name']} (driver {gpu['driver']})" for gpu in gpus)])


def measurements(experiment: str, summary: dict) -> list[dict]:
    """One measurement for each segment of one run: its fields, repetition, metrics, texts and the segment itself."""
    found = []
    for number, segment in enumerate(summary["segments"], start=1):
        texts = {
            "warnings": "; ".join([*summary["warnings"], *segment["warnings"]]),
            "substitutes": "; ".join(summary["substitutes"]),
            "machine": machine_name(summary["machine"], summary.get("gpus", [])),
            "run": summary["run"],
        }
        counts = {f"{name}_events": segment["accounting"][name] for name in COUNTS}
        found.append(
            {
                "fields": {"experiment": experiment, **fields_of(summary["spec"], segment, number)},
                "repetition": summary["repetition"],
                "metrics": {**metrics_of(summary, segment), **counts},
                "segment": segment,
                "texts": texts,
                "failed": "failed" in summary,
            }
        )
    return found


# --- the repetitions of one segment -----------------------------------------------------------------------------------


def interval_cells(name: str, values: list[float | None]) -> Row:
    """A metric's mean and interval over repetitions, three cells; empty where one of them lacks it."""
    numbers = [value for value in values if value is not None]
    if not numbers or len(numbers) < len(values):
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"))
    interval = metrics.mean_interval(numbers, looks.column(name).plain)
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def measured_ones(group: list[dict]) -> list[dict]:
    """Those of the repetitions that did not fail; the first tells in a warning how many did, and why."""
    measured = [one for one in group if not one["failed"]]
    if not measured or len(measured) == len(group):
        return measured
    reasons = dict.fromkeys(one["texts"]["warnings"] for one in group if one["failed"])
    warning = f"{len(group) - len(measured)} of {len(group)} repetitions {', '.join(reasons)}"
    texts = measured[0]["texts"]
    told = {**texts, "warnings": "; ".join(filter(None, (warning, texts["warnings"])))}
    return [{**measured[0], "texts": told}, *measured[1:]]


def rows_of(part: str, group: list[dict]) -> list[Row]:
    """A group's rows in a part of the table: of repetitions that all failed a single one, without a metric and with 0
    repetitions, except in "runs", which has all of them."""
    if PARTS[part] is run_rows:
        return run_rows(group)
    if measured := measured_ones(group):
        return PARTS[part](measured)
    fields, texts = common_cells(group)
    empty = dict.fromkeys(mean_rows(group)[0]) if part == "means" else {}
    return [{**empty, **fields, "repetitions": 0, **texts}]


def common_cells(group: list[dict]) -> tuple[Row, Row]:
    """What the repetitions of a segment share: its fields, with a rate that each of them found as its mean, and their
    number; and their texts, each once."""
    fields = dict(group[0]["fields"])
    for name in ("rate_events_per_s", "peak_rate_events_per_s"):
        values = [one["fields"][name] for one in group]
        fields[name] = None if None in values else float(np.mean(values))
    every = {name: [part for one in group for part in one["texts"][name].split("; ") if part] for name in TEXTS}
    texts = {name: "; ".join(dict.fromkeys(parts)) for name, parts in every.items()}
    return {**fields, "repetitions": len(group)}, texts


def mean_rows(group: list[dict]) -> list[Row]:
    """The repetitions as one row."""
    fields, texts = common_cells(group)
    cells: Row = {}
    for name in group[0]["metrics"]:
        values = [one["metrics"][name] for one in group]
        if name.endswith("_events"):
            cells[name] = None if None in values else sum(values)
        else:
            cells |= interval_cells(name, values)
    return [{**fields, **cells, **texts}]


def share_variances(groups: list[list[dict]], rows: list[Row]) -> None:
    """Give the rows of means, one a group, the intervals of what was measured under the same load: variances."""
    loads: dict[int, list[tuple[list[dict], Row]]] = {}
    for group, row in zip(groups, rows, strict=True):
        if measured := measured_ones(group):
            loads.setdefault(row["segment"], []).append((measured, row))
    for alike in loads.values():
        for name in {name for group, _ in alike for name in group[0]["metrics"] if not name.endswith("_events")}:
            having = [(group, row) for group, row in alike if row.get(name) is not None]
            values = [[one["metrics"][name] for one in group] for group, _ in having]
            found = variances.intervals(values, looks.column(name).plain)
            for (_, row), interval in zip(having, found, strict=True):
                row |= {f"{name}_low": interval.low, f"{name}_high": interval.high}


def run_rows(group: list[dict]) -> list[Row]:
    """Each repetition as a row."""
    return [
        {**one["fields"], "repetition": one["repetition"], **one["order"], **one["metrics"], **one["texts"]}
        for one in group
    ]


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are there."""
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


def burst_cells(segments: list[dict]) -> dict[int, Row]:
    """Of every burst, from 1: its start and end, the mean recovery time of the repetitions that recovered, the longest
    time without a prediction; of a fault after how long the harness had noticed and its part was up again; and how many
    events all repetitions lost, doubled or answered wrongly."""
    cells = {}
    for index, (start_s, end_s) in enumerate(segments[0]["bursts_s"]):
        recovered = [one["recovery_s"][index] for one in segments if one["recovery_s"][index] is not None]
        cells[index + 1] = {
            "burst": index + 1,
            "burst_start_s": start_s,
            "burst_end_s": end_s,
            "recovered_repetitions": len(recovered),
            **interval_cells("recovery_s", recovered),
            **interval_cells("outage_s", [(one.get("outage_s") or {index: None})[index] for one in segments]),
            **{name: _mean(one.get(name) for one in segments) for name in ("detected_s", "restarted_s")},
            **{f"{name}_events": sum(one["accounting"][name] or 0 for one in segments) for name in FAILINGS},
        }
    return cells


def series_rows(group: list[dict]) -> list[Row]:
    """A row a second: events due, median and p99 of their latency, predictions appended; none of a backlog."""
    segments = [one["segment"] for one in group]
    series = [segment["series"] for segment in segments]
    if None in series:
        return []
    fields, texts = common_cells(group)
    bursts, rows = burst_cells(segments), []
    for second in range(min(len(one["second"]) for one in series)):
        begun = [number for number, burst in bursts.items() if burst["burst_start_s"] <= second]
        cells: Row = {"second": second}
        for name, column in SERIES_COLUMNS.items():
            cells |= interval_cells(column, [one[name][second] for one in series])
        rows.append({**fields, **cells, **(bursts[begun[-1]] if begun else {}), **texts})
    return rows


def curve_rows(group: list[dict]) -> list[Row]:
    """A row a quantile, as far as the repetition with the fewest events supports it; none of a backlog."""
    curves = [one["segment"]["latency_curve"] for one in group]
    if not all(curve["ms"] for curve in curves):
        return []
    fields, texts = common_cells(group)
    counts = [one["segment"]["latency_ms"]["received_minus_due"]["n"] for one in group]
    quantiles = metrics.curve_quantiles(min(counts))
    values = np.array([metrics.curve_at(curve, quantiles) for curve in curves])
    return [
        {**fields, "quantile": float(quantile), **interval_cells("latency_ms", at_quantile.tolist()), **texts}
        for quantile, at_quantile in zip(quantiles, values.T, strict=True)
    ]


# --- tables -----------------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[list[dict]], list[Row]]] = {
    "means": mean_rows,
    "runs": run_rows,
    "repetitions": run_rows,
    "series": series_rows,
    "curves": curve_rows,
}


def orders(summaries: list[dict]) -> dict[tuple[str, str], Row]:
    """(run, repetition) -> its round, which is the repetition's number, and its position among the runs of that round,
    from 1, by when they were measured; None of a run that does not tell when."""
    rounds: dict[str, list[tuple[int, str]]] = {}
    for summary in summaries:
        rounds.setdefault(summary["repetition"], []).append((summary.get("started_ns") or 0, summary["run"]))
    return {
        (run, repetition): {"round": int(repetition), "position": place if started else None}
        for repetition, runs in rounds.items()
        for place, (started, run) in enumerate(sorted(runs), start=1)
    }


def grouped(measured: list[dict]) -> list[list[dict]]:
    """The repetitions of each segment of each run, sorted by what was run and by repetition."""
    groups: dict[tuple, list[dict]] = {}
    for one in measured:
        groups.setdefault((one["texts"]["run"], one["fields"]["segment"]), []).append(one)
    names = list(dict.fromkeys(name for one in measured for name in one["fields"]))
    for (run, number), group in groups.items():
        group.sort(key=lambda one: one["repetition"])
        if len({one["repetition"] for one in group}) < len(group):
            raise CrayfishError(f"{run}: a repetition of segment {number} was given twice; give each summary once")

    def sort_key(group: list[dict]) -> tuple:
        fields = common_cells(measured_ones(group) or group)[0]
        return (*((fields.get(name) is not None, fields.get(name)) for name in names), group[0]["texts"]["run"])

    return sorted(groups.values(), key=sort_key)


def tabulate(experiment: str, summaries: list[dict], part: str) -> pl.DataFrame:
    """A part of an experiment's table, sorted by what was run. Equal summaries in any order give equal tables.

    Raises CrayfishError where a repetition is given twice.
    """
    order = orders(summaries)
    measured = [
        {**one, "order": order[one["texts"]["run"], one["repetition"]]}
        for summary in summaries
        for one in measurements(experiment, summary)
    ]
    groups = grouped(measured)
    rows = [row for group in groups for row in rows_of(part, group)]
    if part == "means":
        share_variances(groups, rows)
    # The union of the rows' columns; one that only some rows have goes before the texts.
    names = [*dict.fromkeys(name for row in rows for name in row if name not in TEXTS), *TEXTS]
    if not rows:  # a backlog has neither series nor curve
        names = [*groups[0][0]["fields"], "repetitions", *TEXTS]
    table = pl.DataFrame([{name: row.get(name) for name in names} for row in rows], names, infer_schema_length=None)
    return table.with_columns(
        (selectors.float() - selectors.by_name("quantile", require_all=False)).round_sig_figs(DIGITS)
    )
