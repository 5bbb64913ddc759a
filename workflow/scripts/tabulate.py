"""Summaries of runs to one table, CSV. A column's name tells its unit; an empty cell is a figure that does not exist.

Of an experiment: one row a system, load and segment, with the mean over its repetitions in each figure's column and
Student's t 95 % interval in FIGURE_low and FIGURE_high. A figure that one repetition lacks is empty; counts of events
(sent, lost, ...) are sums over the repetitions. With --each-run: the same columns without intervals, one row a
repetition. Columns, in this order: experiment, what was run (segment last), repetitions (or repetition), the figures,
then warnings, substitutes, machine, run (the folder's name).
"""

import argparse
import json
from pathlib import Path

import polars as pl

from crayfish import errors, statistics
from crayfish.errors import CrayfishError

FIRST = ("processor", "scorer", "model", "parallelism")
UNITS = {
    "kind": "load",
    "rate": "rate_events_per_s",
    "peak_rate": "peak_rate_events_per_s",
    "batch_size": "points_per_event",
}
LATENCIES = {
    "received_minus_due": "latency",
    "append_minus_due": "append_minus_due",
    "append_minus_sent": "append_minus_sent",
}
COUNTS = ("sent", "received", "distinct", "lost", "duplicated", "wrong", "unknown")
TEXTS = ("warnings", "substitutes", "machine", "run")
DIGITS = 6


def fields_of(spec: dict, load: dict, number: int) -> dict:
    """What was run: the RunSpec's fields, the system's first, then the segment's load and its number, from 1."""
    names = [*FIRST, *sorted(name for name in spec if name not in (*FIRST, "segments"))]
    loads = {UNITS.get(name, name): value for name, value in load.items()}
    if load["kind"] == "backlog":
        loads["rate_events_per_s"] = None  # a pilot's, which only sized the backlog
    return {**{name: spec[name] for name in names}, **loads, "segment": number}


def figures_of(summary: dict, segment: dict) -> dict:
    """The figures of one segment of one run, flat, with units in their names."""
    figures = {f"throughput_{unit}": value for unit, value in segment["throughput"].items()}
    for kind, name in LATENCIES.items():
        values = segment["latency_ms"].get(kind) or {}
        figures |= {f"{name}_{part}_ms": values.get(part) for part in (*statistics.PER_MILLE, "max", "mean")}
    late, backlog, recovered = segment["lateness"] or {}, segment["backlog"] or {}, segment["recovery_s"]
    figures |= {
        "lateness_p99_ms": late.get("p99_ms"),
        "lateness_max_ms": late.get("max_ms"),
        "late_share": late.get("late_share"),
        "backlog_growth_events_per_s": backlog.get("slope_events_per_s"),
        "recovery_s": max(recovered) if recovered and None not in recovered else None,
        "window_s": segment["window_s"],
    }
    figures |= {f"cpu_{stage}_us_per_event": value for stage, value in segment["cpu_us_per_event"].items()}
    peaks = {stage: None if size is None else size / 2**20 for stage, size in summary["peak_memory_bytes"].items()}
    figures |= {f"peak_memory_{stage}_mib": size for stage, size in peaks.items()}
    return {**figures, "fixed_cost_s": summary["fixed_cost_s"]}


def machine_name(machine: dict) -> str:
    """One line about the hardware."""
    return f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_bytes'] / 2**30:.0f} GiB"


def rows_of(experiment: str, summary: dict) -> list[dict]:
    """One row a segment of one run."""
    rows = []
    for number, segment in enumerate(summary["segments"], start=1):
        texts = {
            "warnings": "; ".join([*summary["warnings"], *segment["warnings"]]),
            "substitutes": "; ".join(summary["substitutes"]),
            "machine": machine_name(summary["machine"]),
            "run": summary["run"],
        }
        fields = {"experiment": experiment, **fields_of(summary["spec"], segment["load"], number)}
        figures = {**figures_of(summary, segment), **{f"{name}_events": segment["accounting"][name] for name in COUNTS}}
        rows.append({**fields, "repetition": summary["repetition"], **figures, **texts})
    return rows


def mean_rows(rows: list[dict]) -> dict:
    """The repetitions of one system, load and segment as one row."""
    row: dict = {}
    seen_repetition = False
    for name, value in rows[0].items():
        values = [other[name] for other in rows]
        if name == "repetition":
            row["repetitions"], seen_repetition = len(rows), True
        elif name in TEXTS:
            row[name] = "; ".join(dict.fromkeys(text for text in values if text))
        elif not seen_repetition:
            row[name] = value
        elif name.endswith("_events"):
            row[name] = sum(values)
        else:
            interval = statistics.t_interval(values) if None not in values else statistics.Interval(None, None, None, 0)
            row |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return row


def ordered_columns(rows: list[dict]) -> list[str]:
    """The union of the rows' columns; one that only some rows have goes before the texts."""
    names = dict.fromkeys(name for row in rows for name in row if name not in TEXTS)
    return [*names, *TEXTS]


def tabulate(experiment: str, summaries: list[dict], each_run: bool) -> pl.DataFrame:
    """The table of an experiment, or of each run of it, sorted by what was run. Equal inputs give equal tables."""
    rows = [row for summary in summaries for row in rows_of(experiment, summary)]
    names = ordered_columns(rows)
    rows = [{name: row.get(name) for name in names} for row in rows]
    fields = names[: names.index("repetition")]
    rows.sort(key=lambda row: (*((row[name] is not None, row[name]) for name in fields), row["run"], row["repetition"]))
    if not each_run:
        groups: dict[tuple, list[dict]] = {}
        for row in rows:
            groups.setdefault((row["run"], row["segment"]), []).append(row)
        for (run, segment), group in groups.items():
            if len({row["repetition"] for row in group}) < len(group):
                raise CrayfishError(f"{run}: a repetition of segment {segment} was given twice; give each summary once")
        rows = [mean_rows(group) for group in groups.values()]
    table = pl.DataFrame(rows, infer_schema_length=None)
    return table.with_columns(pl.col(pl.Float64).round_sig_figs(DIGITS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiment", required=True, help="its name, the first column")
    parser.add_argument("--summaries", type=Path, nargs="+", required=True, help="summary.json of every run")
    parser.add_argument("--each-run", action="store_true", help="one row a repetition, without intervals")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    summaries = [json.loads(path.read_text()) for path in arguments.summaries]
    tabulate(arguments.experiment, summaries, arguments.each_run).write_csv(arguments.out)


if __name__ == "__main__":
    errors.main(main)
