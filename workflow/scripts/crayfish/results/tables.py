"""The tables of tabulate.py as those who draw or digest them read them."""

from pathlib import Path

import polars as pl

from crayfish.spec.errors import CrayfishError

UNMENTIONED = ("ready_timeout_s", "drain_timeout_s")  # they bound a run's waits and change no figure


def read_table(path: Path) -> pl.DataFrame:
    """A table of tabulate.py; empty texts stay texts."""
    table = pl.read_csv(path, infer_schema_length=None)
    texts = [name for name in ("warnings", "substitutes", "machine", "run") if name in table.columns]
    empty = [name for name, of in table.schema.items() if of == pl.String and table[name].null_count() == len(table)]
    return table.with_columns(
        *(pl.col(name).cast(pl.Float64) for name in empty if name not in texts),
        *(pl.col(name).cast(pl.String).fill_null("") for name in texts),
    )


def kept(table: pl.DataFrame, where: dict[str, list]) -> pl.DataFrame:
    """The rows in which every column named holds one of its values; CrayfishError for no such column or no row."""
    for name, values in where.items():
        if name not in table.columns:
            raise CrayfishError(f"where: the table has no column {name!r}; allowed: {', '.join(field_names(table))}")
        held = table[name].unique().sort().to_list()
        table = table.filter(pl.Series([value in values for value in table[name]], dtype=pl.Boolean))
        if not len(table):
            raise CrayfishError(f"where: {name} is none of {values} in any row; of these rows it is one of {held}")
    return table


def field_names(table: pl.DataFrame) -> list[str]:
    """The columns that say what was run."""
    names = table.columns
    return [name for name in names[1 : names.index("repetitions")] if name != "segment"]


def varied(table: pl.DataFrame) -> list[str]:
    """Those of them with more than one value."""
    return [name for name in field_names(table) if table[name].n_unique() > 1]


def once(table: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """One row, the first, a segment of a run (and a value of the columns), of a table that holds more."""
    return table.unique(["run", "segment", *columns], keep="first", maintain_order=True)
