"""Summaries of runs to one table, CSV. A column's name tells its unit; an empty cell is a figure that does not exist.

--part says which: `means`, one row a system, load and segment, with the mean over its repetitions in each figure's
column and Student's t 95 % interval in FIGURE_low and FIGURE_high (a figure that one repetition lacks is empty; counts
of events are sums over the repetitions); `runs`, the same columns without intervals, one row a repetition; `series`,
one row a second of every paced segment, and with it the burst that began last and how long the system took to recover
from it; `curves`, one row a quantile of the latency. Series and curves hold means and intervals over the repetitions
too. Columns, in this order: experiment, what was run (segment last), repetitions (or repetition), the figures, then
warnings, substitutes, machine, run (the folder's name).
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from polars import selectors

from crayfish.spec import errors, metrics
from crayfish.spec.errors import CrayfishError

FIRST = ("processor", "scorer", "model", "parallelism")
UNITS = {
    "kind": "load",
    "rate": "rate_events_per_s",
    "peak_rate": "peak_rate_events_per_s",
    "of": "rates_of",
    "batch_size": "points_per_event",
}
LATENCIES = {
    "received_minus_due": "latency",
    "append_minus_due": "append_minus_due",
    "append_minus_sent": "append_minus_sent",
}
COUNTS = ("sent", "received", "distinct", "lost", "duplicated", "wrong", "unknown")
UNDER_TEST = ("processor", "server", "broker")  # stages; producer and consumer are the instrument
TEXTS = ("warnings", "substitutes", "machine", "run")
DIGITS = 6
Row = dict[str, object]


# --- one segment of one run -------------------------------------------------------------------------------------------


def fields_of(spec: dict, segment: dict, number: int) -> Row:
    """What was run: the RunSpec's fields, the system's first, then the segment's load and its number, from 1."""
    names = [*FIRST, *sorted(name for name in spec if name not in (*FIRST, "segments"))]
    loads = {UNITS.get(name, name): value for name, value in segment["load"].items()}
    if segment["load"]["kind"] == "backlog" or "sustainable_events_per_s" in segment:
        loads["rate_events_per_s"] = None  # a pilot's, which only sized the backlog; or found, not given
    return {**{name: spec[name] for name in names}, **loads, "segment": number}


def costs_of(segment: dict) -> Row:
    """CPU of each stage, and of all that is under test together."""
    costs = segment["cpu_us_per_event"]
    tested = [costs[stage] for stage in UNDER_TEST if stage in costs]
    total = {"cpu_us_per_event": sum(tested) if tested and None not in tested else None}
    return {**{f"cpu_{stage}_us_per_event": value for stage, value in costs.items()}, **total}


def figures_of(summary: dict, segment: dict) -> Row:
    """The figures of one segment of one run, flat, with units in their names."""
    figures = {f"throughput_{unit}": value for unit, value in segment["throughput"].items()}
    figures["sustainable_events_per_s"] = segment.get("sustainable_events_per_s")
    for kind, name in LATENCIES.items():
        values = segment["latency_ms"].get(kind) or {}
        figures |= {f"{name}_{part}_ms": values.get(part) for part in (*metrics.PER_MILLE, "max", "mean")}
    late, backlog, recovered = segment["lateness"] or {}, segment["backlog"] or {}, segment["recovery_s"]
    figures |= {
        "lateness_p99_ms": late.get("p99_ms"),
        "lateness_max_ms": late.get("max_ms"),
        "late_share": late.get("late_share"),
        "backlog_growth_events_per_s": backlog.get("slope_events_per_s"),
        "recovery_s": max(recovered) if recovered and None not in recovered else None,
        "window_s": segment["window_s"],
        **costs_of(segment),
    }
    peaks = {stage: None if size is None else size / 2**20 for stage, size in summary["peak_memory_bytes"].items()}
    figures |= {f"peak_memory_{stage}_mib": size for stage, size in peaks.items()}
    return {**figures, "fixed_cost_s": summary["fixed_cost_s"]}


def machine_name(machine: dict) -> str:
    """One line about the hardware."""
    return f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_bytes'] / 2**30:.0f} GiB"


def segments_of(experiment: str, summary: dict) -> list[dict]:
    """Of each segment of one run: what was run, its repetition, what was found, and the texts, apart."""
    found = []
    for number, segment in enumerate(summary["segments"], start=1):
        texts = {
            "warnings": "; ".join([*summary["warnings"], *segment["warnings"]]),
            "substitutes": "; ".join(summary["substitutes"]),
            "machine": machine_name(summary["machine"]),
            "run": summary["run"],
        }
        fields = {"experiment": experiment, **fields_of(summary["spec"], segment, number)}
        figures = {**figures_of(summary, segment), **{f"{name}_events": segment["accounting"][name] for name in COUNTS}}
        found.append(
            {
                "fields": fields,
                "repetition": summary["repetition"],
                "figures": figures,
                "segment": segment,
                "texts": texts,
            }
        )
    return found


# --- the repetitions of one segment -----------------------------------------------------------------------------------


def interval_of(name: str, values: list[float | None]) -> Row:
    """A figure's mean and interval over repetitions, three cells; empty where one of them lacks it."""
    there = values and None not in values
    interval = metrics.t_interval(values) if there else metrics.Interval(None, None, None, 0)
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def common(group: list[dict]) -> tuple[Row, Row]:
    """What the repetitions of a segment share: its fields, with a rate that each of them found out as its mean, and
    their number; and their texts, each once."""
    fields = dict(group[0]["fields"])
    for name in ("rate_events_per_s", "peak_rate_events_per_s"):
        values = [one["fields"][name] for one in group]
        fields[name] = None if None in values else float(np.mean(values))
    every = {name: [part for one in group for part in one["texts"][name].split("; ") if part] for name in TEXTS}
    texts = {name: "; ".join(dict.fromkeys(parts)) for name, parts in every.items()}
    return {**fields, "repetitions": len(group)}, texts


def mean_rows(group: list[dict]) -> list[Row]:
    """The repetitions as one row."""
    fields, texts = common(group)
    figures: Row = {}
    for name in group[0]["figures"]:
        values = [one["figures"][name] for one in group]
        figures |= {name: sum(values)} if name.endswith("_events") else interval_of(name, values)
    return [{**fields, **figures, **texts}]


def run_rows(group: list[dict]) -> list[Row]:
    """Each repetition as a row."""
    return [{**one["fields"], "repetition": one["repetition"], **one["figures"], **one["texts"]} for one in group]


def burst_cells(segments: list[dict]) -> dict[int, Row]:
    """Of every burst, from 1: its start and end, and the mean recovery time of the repetitions that recovered."""
    cells = {}
    for index, (start_s, end_s) in enumerate(segments[0]["bursts_s"]):
        recovered = [one["recovery_s"][index] for one in segments if one["recovery_s"][index] is not None]
        cells[index + 1] = {
            "burst": index + 1,
            "burst_start_s": start_s,
            "burst_end_s": end_s,
            "recovered_repetitions": len(recovered),
            **interval_of("recovery_s", recovered),
        }
    return cells


def series_rows(group: list[dict]) -> list[Row]:
    """A row a second: events due, median and p99 of their latency, predictions appended; none of a backlog."""
    segments = [one["segment"] for one in group]
    if None in (series := [segment["series"] for segment in segments]):
        return []
    fields, texts = common(group)
    bursts, rows = burst_cells(segments), []
    for second in range(min(len(one["second"]) for one in series)):
        began = [number for number, burst in bursts.items() if burst["burst_start_s"] <= second]
        figures = {"second": second}
        for name, column in {
            "due": "due_events_per_s",
            "appended": "appended_events_per_s",
            "p50_ms": "latency_p50_ms",
            "p99_ms": "latency_p99_ms",
        }.items():
            figures |= interval_of(column, [one[name][second] for one in series])
        rows.append({**fields, **figures, **(bursts[began[-1]] if began else {}), **texts})
    return rows


def curve_rows(group: list[dict]) -> list[Row]:
    """A row a quantile, as far as the repetition with the fewest events supports it; none of a backlog."""
    curves = [one["segment"]["latency_curve"] for one in group]
    if not all(curve["ms"] for curve in curves):
        return []
    fields, texts = common(group)
    counts = [one["segment"]["latency_ms"]["received_minus_due"]["n"] for one in group]
    quantiles = metrics.curve_quantiles(min(counts))
    values = np.array([metrics.curve_at(curve, quantiles) for curve in curves])
    return [
        {**fields, "quantile": float(quantile), **interval_of("latency_ms", at.tolist()), **texts}
        for quantile, at in zip(quantiles, values.T, strict=True)
    ]


# --- tables -----------------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[list[dict]], list[Row]]] = {
    "means": mean_rows,
    "runs": run_rows,
    "series": series_rows,
    "curves": curve_rows,
}


def grouped(segments: list[dict]) -> list[list[dict]]:
    """The repetitions of each segment of each run, sorted by what was run and by repetition."""
    groups: dict[tuple, list[dict]] = {}
    for one in segments:
        groups.setdefault((one["texts"]["run"], one["fields"]["segment"]), []).append(one)
    names = list(dict.fromkeys(name for one in segments for name in one["fields"]))
    for (run, number), group in groups.items():
        group.sort(key=lambda one: one["repetition"])
        if len({one["repetition"] for one in group}) < len(group):
            raise CrayfishError(f"{run}: a repetition of segment {number} was given twice; give each summary once")

    def place(group: list[dict]) -> tuple:
        fields = common(group)[0]
        return (*((fields.get(name) is not None, fields.get(name)) for name in names), group[0]["texts"]["run"])

    return sorted(groups.values(), key=place)


def tabulate(experiment: str, summaries: list[dict], part: str) -> pl.DataFrame:
    """A part of an experiment's table, sorted by what was run. Equal summaries in any order give equal tables."""
    groups = grouped([one for summary in summaries for one in segments_of(experiment, summary)])
    rows = [row for group in groups for row in PARTS[part](group)]
    # The union of the rows' columns; one that only some rows have goes before the texts.
    names = [*dict.fromkeys(name for row in rows for name in row if name not in TEXTS), *TEXTS]
    if not rows:  # a backlog has neither series nor curve
        names = [*groups[0][0]["fields"], "repetitions", *TEXTS]
    table = pl.DataFrame([{name: row.get(name) for name in names} for row in rows], names, infer_schema_length=None)
    return table.with_columns(
        (selectors.float() - selectors.by_name("quantile", require_all=False)).round_sig_figs(DIGITS)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiment", required=True, help="its name, the first column")
    parser.add_argument("--part", choices=list(PARTS), default="means")
    parser.add_argument("--summaries", type=Path, nargs="+", required=True, help="summary.json of every run")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    summaries = [json.loads(path.read_text()) for path in arguments.summaries]
    tabulate(arguments.experiment, summaries, arguments.part).write_csv(arguments.out)


if __name__ == "__main__":
    errors.main(main)
