"""Captions of figures: fixed fields, repetitions, machine, systems that are not ranked, substitutes, warnings."""

from __future__ import annotations

import itertools
import re

import polars as pl

from crayfish.results import looks
from crayfish.results.tables import TIMEOUTS, chosen_metric, first_rows, interval_of, notes, run_columns
from crayfish.spec import metrics
from crayfish.spec.contracts import FigureKind

MOST_NAMED = 8  # warnings or pairs that a caption spells out


def place_columns(table: pl.DataFrame, kind: FigureKind) -> list[str]:
    """The axes of the figure that vary and are not in the systems' names: what tells where in the figure a point is."""
    varying = [name for name in kind.axes if table[name].n_unique() > 1]
    return [name for name in varying if name not in ("processor", "scorer")]


def overlaps(table: pl.DataFrame, kind: FigureKind, metric: str) -> list[str]:
    """Pairs of systems whose intervals share a point at the same place of the figure, so that neither is ranked."""
    columns = place_columns(table, kind)
    keys = [name for name in kind.axes if table[name].n_unique() > 1]
    places: dict[tuple, list[tuple[str, dict]]] = {}
    for system in looks.systems(table, kind.axes):
        for row in first_rows(system.rows.drop_nulls(metric), *keys).iter_rows(named=True):
            places.setdefault(tuple(row[name] for name in keys), []).append((system.label, row))
    pairs: dict[str, list[tuple]] = {}
    for _, present in sorted(places.items(), key=lambda item: tuple(map(str, item[0]))):
        for (first, row), (second, other) in itertools.combinations(present, 2):
            if not metrics.intervals_part(interval_of(row, metric), interval_of(other, metric)):
                pairs.setdefault(f"{first} and {second}", []).append(tuple(row[name] for name in columns))
    return [pair + (f" ({values_in_words(columns, values)})" if columns else "") for pair, values in pairs.items()]


def values_in_words(columns: list[str], values: list[tuple]) -> str:
    """Values of some columns, briefly: "input rate (events/s) 100, 400"."""
    names = " / ".join(looks.label(name) for name in columns)
    return f"{names} {', '.join('/'.join(map(looks.display, value)) for value in values)}"


def listed(texts: list[str]) -> str:
    """The first texts, and how many more there are."""
    more = len(texts) - MOST_NAMED
    return "; ".join(texts[:MOST_NAMED]) + (f"; and {more} more, see the table" if more > 0 else "")


def escaped(text: str) -> str:
    """Text in which reStructuredText finds no mark-up."""
    return re.sub(r"([\\*`|]|_(?!\w))", r"\\\1", text)


def warnings_in_words(table: pl.DataFrame, kind: FigureKind) -> list[str]:
    """Each warning with the point of the figure that it belongs to."""
    columns = [name for name in place_columns(table, kind) if name in run_columns(table)]
    return [
        f"{', '.join([system.label, *(looks.long(name, row[name]) for name in columns)])}: {row['warnings']}"
        for system in looks.systems(table, kind.axes)
        for row in first_rows(system.rows).iter_rows(named=True)
        if row["warnings"]
    ]


def repetitions_in_words(table: pl.DataFrame, kind: FigureKind) -> str:
    """How often each run was repeated, and what marks its interval."""
    mean, interval = ("Points", "bars") if kind.part == "means" else ("Lines", "bands")
    counts = sorted(table["repetitions"].unique())
    if counts[-1] == 1:
        return f"{mean} are single runs: without repetitions there are no confidence intervals, and nothing is ranked."
    number = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    overlap = "" if kind.metrics else f" Where {interval} overlap, nothing is ranked."
    return f"{mean} are means of {number} repetitions; {interval} are 95 % confidence intervals (Student's t).{overlap}"


def fixed_in_words(table: pl.DataFrame) -> str:
    """The columns that say what was run and hold one value, unless it is empty or 0, or changes no metric."""
    columns = [name for name in run_columns(table) if name not in TIMEOUTS and table[name].n_unique() == 1]
    return ", ".join(looks.long(name, table[name][0]) for name in columns if table[name][0] not in (None, 0, ""))


def caption(kind: FigureKind, table: pl.DataFrame) -> str:
    """The caption of a figure of this kind, reStructuredText that reads well as plain text."""
    paragraphs = [
        f"Held fixed: {fixed_in_words(table)}.",
        f"Machine: {'; '.join(table['machine'].unique(maintain_order=True))}.",
    ]
    present = [name for name in kind.metrics if name in table.columns and table[name].null_count() < len(table)]
    if present and table["repetitions"].max() > 1:
        metric = chosen_metric(tuple(present), table)
        if pairs := overlaps(table, kind, metric):
            what = f"their 95 % confidence intervals of {looks.label(metric)} overlap"
            paragraphs.append(f"Not ranked, because {what}: {listed(pairs)}.")
    if substitutes := notes(table):
        paragraphs.append(f"Substitutes: {'; '.join(substitutes)}.")
    if warned := warnings_in_words(table, kind):
        paragraphs.append(f"Warnings (ringed): {listed(warned)}.")
    first = f"**{kind.title}.** {kind.text} {repetitions_in_words(table, kind)}"
    return "\n\n".join([first, *map(escaped, paragraphs)]) + "\n"
