"""Reading the tables of results/tabulation.py: for the figures, their captions, the digests and the notebook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from crayfish.spec import metrics
from crayfish.spec.errors import CrayfishError

TIMEOUTS = ("ready_timeout_s", "drain_timeout_s")  # fields of a run that change no metric
TEXTS = ("warnings", "substitutes", "machine", "run")  # the last columns

GPU = "GPU"  # how what a machine's name tells of its GPU begins


def read_table(path: Path) -> pl.DataFrame:
    """A table as it was written: an empty text is "", and a column without any value holds nulls of type float.

    The load's kind is a text even in a table without rows.
    """
    table = pl.read_csv(path, infer_schema_length=None)
    texts = [name for name in ("load", *TEXTS) if name in table.columns]
    empty = [
        name for name, kind in table.schema.items() if kind == pl.String and table[name].null_count() == len(table)
    ]
    return table.with_columns(
        *(pl.col(name).cast(pl.Float64) for name in empty if name not in texts),
        *(pl.col(name).cast(pl.String).fill_null("") for name in texts),
    )


def filtered(table: pl.DataFrame, where: dict[str, list]) -> pl.DataFrame:
    """The rows in which every column of `where` holds one of its values.

    Raises CrayfishError where the table has no such column, or no row is left.
    """
    for name, values in where.items():
        if name not in table.columns:
            raise CrayfishError(f"where: the table has no column {name!r}; allowed: {', '.join(run_columns(table))}")
        present = table[name].unique().sort().to_list()
        table = table.filter(pl.Series([value in values for value in table[name]], dtype=pl.Boolean))
        if not len(table):
            raise CrayfishError(f"where: no row has a {name} of {values}; allowed: {present}")
    return table


def measured(table: pl.DataFrame) -> pl.DataFrame:
    """The rows of what was measured: without the runs that failed in every repetition."""
    return table.filter(pl.col("repetitions") > 0)


def run_columns(table: pl.DataFrame) -> list[str]:
    """The columns that say what was run; the segment's number is not among them."""
    names = table.columns
    return [name for name in names[1 : names.index("repetitions")] if name != "segment"]


def varying_columns(table: pl.DataFrame) -> list[str]:
    """The columns that say what was run and hold more than one value."""
    return [name for name in run_columns(table) if table[name].n_unique() > 1]


def first_rows(table: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """The first row of each segment of a run (and of each value of `columns`), of a table that holds several."""
    return table.unique(["run", "segment", *columns], keep="first", maintain_order=True)


def chosen_metric(names: tuple[str, ...], table: pl.DataFrame) -> str:
    """The first of some metrics that every row has; else the first that any row has.

    Raises CrayfishError where no row has any of them.
    """
    present = [name for name in names if name in table.columns and table[name].null_count() < len(table)]
    if not present:
        raise CrayfishError(
            f"the table has no value of {', '.join(names)}: this kind of figure needs runs of another kind of load"
        )
    return next((name for name in present if not table[name].null_count()), present[0])


def interval_of(row: dict[str, Any], metric: str) -> metrics.Interval:
    """A metric's mean and interval in a row."""
    return metrics.Interval(row[metric], row[f"{metric}_low"], row[f"{metric}_high"], row["repetitions"])


def ends(row: dict[str, Any], metric: str) -> tuple[float, float]:
    """Both ends of a metric's interval in a row; its mean where there is no interval."""
    low, high = (row[metric] if row[f"{metric}_{end}"] is None else row[f"{metric}_{end}"] for end in ("low", "high"))
    return low, high


def notes(table: pl.DataFrame) -> list[str]:
    """What a reader must know of the systems and events: substitutes of official products, and synthetic data."""
    substitutes = [
        part for text in table["substitutes"].unique(maintain_order=True) for part in text.split("; ") if part
    ]
    synthetic = ["synthetic data"] if "synthetic" in table["dataset"].to_list() else []
    return list(dict.fromkeys(substitutes + synthetic))
