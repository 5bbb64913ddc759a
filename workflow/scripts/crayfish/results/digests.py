"""Digests: one readable table over all experiments: what was run, a few metrics with their 95 % confidence intervals,
the warnings.

sustained_throughput: of drained backlogs, and the sustainable rates that searches found; latency_percentiles;
recovery_times: one row a burst or fault, made from the series; accounting: sums over the repetitions. The column
`otherwise` names a run's other non-default parameters. Numbers have four digits; an empty cell is a metric that is
undefined.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import polars as pl
from polars import selectors

from crayfish.results.tables import TIMEOUTS
from crayfish.spec.run_spec import RunSpec

DIGITS = 4
RUN_COLUMNS = (
    "experiment",
    "processor",
    "scorer",
    "model",
    "parallelism",
    "points_per_event",
    "load",
    "rate_events_per_s",
)
LAST = ("warnings", "run")
RECOVERY = (
    *("recovery_s", "outage_s", "detected_s", "restarted_s"),
    *("lost_events", "duplicated_events", "wrong_events"),
)
METRICS = {
    "sustained_throughput": ("throughput_events_per_s", "sustainable_events_per_s", "cpu_us_per_event"),
    "latency_percentiles": tuple(f"latency_{part}_ms" for part in ("p50", "p90", "p99", "p99_9", "max")),
    "recovery_times": ("burst", "burst_start_s", "burst_end_s", "recovered_repetitions", *RECOVERY),
    "accounting": tuple(f"{name}_events" for name in ("sent", "received", "distinct", "lost", "duplicated", "wrong")),
}
WITHOUT_INTERVAL = ("accounting", "recovery_times")  # counts and times of bursts; a recovery time has one
WITH_INTERVAL = [f"{name}_{end}" for name in ("recovery_s", "outage_s") for end in ("low", "high")]
DEFAULTS = {
    field.name: field.default
    for field in dataclasses.fields(RunSpec)
    if field.default is not dataclasses.MISSING and field.name not in (*RUN_COLUMNS, *TIMEOUTS)
}


def rows_of(name: str, table: pl.DataFrame) -> pl.DataFrame:
    """The rows of all tables that a digest is about."""
    failed, paced = pl.col("repetitions") == 0, ~pl.col("load").is_in(["backlog", "search"])
    if name == "sustained_throughput":
        drained = pl.col("load") == "backlog"
        throughput = selectors.starts_with("throughput_")  # of a search it is the confirming load's
        searched = pl.col("sustainable_events_per_s").is_not_null() | (failed & (pl.col("load") == "search"))
        found = table.filter(drained | searched)
        return found.with_columns(pl.when(drained).then(throughput))
    if name == "latency_percentiles":
        return table.filter(pl.col("latency_max_ms").is_not_null() | (failed & paced))
    if name == "recovery_times":
        unrecovered = failed & pl.col("load").is_in(["bursty", "faulty"])
        if "burst" not in table.columns:
            return table.filter(unrecovered)
        return table.filter(pl.col("burst").is_not_null() | unrecovered).unique(
            ["experiment", "run", "segment", "burst"], keep="first", maintain_order=True
        )
    return table


def run_cells(row: dict[str, Any]) -> dict[str, Any]:
    """What was run: the scorer as the substitute that it is, where it is one, and the other non-default parameters."""
    substitute = [text for text in row["substitutes"].split("; ") if text.startswith(f"{row['scorer']} (")]
    other = [f"{name} {row[name]}" for name, usual in DEFAULTS.items() if row.get(name) not in (usual, None)]
    cells = {name: row[name] for name in RUN_COLUMNS}
    return {**cells, "scorer": [*substitute, row["scorer"]][0], "otherwise": ", ".join(other)}


def digest(name: str, tables: list[pl.DataFrame]) -> pl.DataFrame:
    """A digest of some tables, in their order; its columns alone if they hold no row of it."""
    every = pl.concat([table for table in tables if len(table)] or tables, how="diagonal_relaxed")
    columns = [column for metric in METRICS[name] for column in (metric, f"{metric}_low", f"{metric}_high")]
    if name in WITHOUT_INTERVAL:
        columns = [column for column in columns if column in (*METRICS[name], *WITH_INTERVAL)]
    rows = [
        {
            **run_cells(row),
            "repetitions": row["repetitions"],
            **{column: row.get(column) for column in columns},
            **{column: row[column] for column in LAST},
        }
        for row in rows_of(name, every).iter_rows(named=True)
    ]
    names = [*RUN_COLUMNS, "otherwise", "repetitions", *columns, *LAST]
    return pl.DataFrame(rows, names, infer_schema_length=None).with_columns(selectors.float().round_sig_figs(DIGITS))
