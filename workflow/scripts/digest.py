"""One readable table over all experiments, CSV: what was run, a few figures with their 95 % intervals, the warnings.

--digest says which: sustained_throughput (of drained backlogs, and the sustainable rates that searches found),
latency_percentiles, recovery_times (one row a burst; made from the series), accounting (sums over the repetitions).
The tables are those of tabulate.py, --part means or series. The column `otherwise` names every field of a run that is
not the default; `run` is the folder's name. Numbers have four digits, an empty cell is a figure that does not exist.
"""

import argparse
import dataclasses
from pathlib import Path

import polars as pl
from polars import selectors

from crayfish.results.tables import UNMENTIONED, read_table
from crayfish.spec import errors
from crayfish.spec.run_spec import RunSpec

DIGITS = 4
WHAT = ("experiment", "processor", "scorer", "model", "parallelism", "points_per_event", "load", "rate_events_per_s")
LAST = ("warnings", "run")
FIGURES = {
    "sustained_throughput": ("throughput_events_per_s", "sustainable_events_per_s", "cpu_us_per_event"),
    "latency_percentiles": tuple(f"latency_{part}_ms" for part in ("p50", "p90", "p99", "p99_9", "max")),
    "recovery_times": ("burst", "burst_start_s", "burst_end_s", "recovered_repetitions", "recovery_s"),
    "accounting": tuple(
        f"{name}_events" for name in ("sent", "received", "distinct", "lost", "duplicated", "wrong", "unknown")
    ),
}
DEFAULTS = {
    field.name: field.default
    for field in dataclasses.fields(RunSpec)
    if field.default is not dataclasses.MISSING and field.name not in (*WHAT, *UNMENTIONED)
}


def rows_of(name: str, table: pl.DataFrame) -> pl.DataFrame:
    """The rows of all tables that a digest is about."""
    if name == "sustained_throughput":
        drained = pl.col("load") == "backlog"
        throughput = selectors.starts_with("throughput_")  # of a search it is the confirming load's
        found = table.filter(drained | pl.col("sustainable_events_per_s").is_not_null())
        return found.with_columns(pl.when(drained).then(throughput))
    if name == "latency_percentiles":
        return table.drop_nulls("latency_max_ms")
    if name == "recovery_times":
        if "burst" not in table.columns:
            return table.clear()
        return table.drop_nulls("burst").unique(
            ["experiment", "run", "segment", "burst"], keep="first", maintain_order=True
        )
    return table


def what_was_run(row: dict) -> dict:
    """The scorer as the substitute that it is, where it is one, and the fields that are not the default."""
    instead = [text for text in row["substitutes"].split("; ") if text.startswith(f"{row['scorer']} (")]
    other = [f"{name} {row[name]}" for name, usual in DEFAULTS.items() if row.get(name) not in (usual, None)]
    return {**{name: row[name] for name in WHAT}, "scorer": [*instead, row["scorer"]][0], "otherwise": ", ".join(other)}


def digest(name: str, tables: list[pl.DataFrame]) -> pl.DataFrame:
    """A digest of some tables, in their order; its columns alone if they hold no row of it."""
    every = pl.concat([table for table in tables if len(table)] or tables, how="diagonal_relaxed")
    figures = [column for one in FIGURES[name] for column in (one, f"{one}_low", f"{one}_high")]
    if name in ("accounting", "recovery_times"):  # counts and places have no interval
        figures = [column for column in figures if column in (*FIGURES[name], "recovery_s_low", "recovery_s_high")]
    rows = [
        {
            **what_was_run(row),
            "repetitions": row["repetitions"],
            **{column: row.get(column) for column in figures},
            **{column: row[column] for column in LAST},
        }
        for row in rows_of(name, every).iter_rows(named=True)
    ]
    table = pl.DataFrame(rows, [*WHAT, "otherwise", "repetitions", *figures, *LAST], infer_schema_length=None)
    return table.with_columns(selectors.float().round_sig_figs(DIGITS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--digest", choices=list(FIGURES), required=True)
    parser.add_argument("--tables", type=Path, nargs="+", required=True, help="tables of tabulate.py")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    digest(arguments.digest, [read_table(path) for path in arguments.tables]).write_csv(arguments.out)


if __name__ == "__main__":
    errors.main(main)
