"""Captions of figures: what was held fixed, repetitions, machine, what is not told apart, substitutes, warnings."""

from __future__ import annotations

import itertools
import re

import polars as pl

from crayfish.results.looks import shown, systems
from crayfish.results.plots import chosen_metric, notes
from crayfish.results.tables import UNMENTIONED, field_names, once
from crayfish.spec import metrics
from crayfish.spec.contracts import FigureKind

MOST_NAMED = 8  # warnings or pairs that a caption spells out


def overlaps(table: pl.DataFrame, of: FigureKind, metric: str) -> list[str]:
    """Pairs of systems whose intervals share a point at the same place of the figure, so that neither is ahead."""
    at = [name for name in of.axes if table[name].n_unique() > 1]
    told = [index for index, name in enumerate(at) if name not in ("processor", "scorer")]  # the label tells these
    places: dict[tuple, list[tuple[str, metrics.Interval]]] = {}
    for system in systems(table, of.axes):
        for row in once(system.rows.drop_nulls(metric), *at).iter_rows(named=True):
            ends = (row[f"{metric}_low"], row[f"{metric}_high"], row["repetitions"])
            interval = metrics.Interval(row[metric], *ends)
            places.setdefault(tuple(row[name] for name in at), []).append((system.label, interval))
    pairs: dict[str, list[str]] = {}
    for place, there in sorted(places.items(), key=lambda item: tuple(map(str, item[0]))):
        for (first, one), (second, other) in itertools.combinations(there, 2):
            if not metrics.intervals_part(one, other):
                where = "/".join(shown(place[index]) for index in told)
                pairs.setdefault(f"{first} and {second}", []).append(where)
    where = "/".join(at[index].split("_")[0] for index in told)
    return [f"{pair} ({where} {', '.join(values)})" if where else pair for pair, values in pairs.items()]


def _listed(texts: list[str]) -> str:
    more = len(texts) - MOST_NAMED
    return "; ".join(texts[:MOST_NAMED]) + (f"; and {more} more, see the table" if more > 0 else "")


def _plain(text: str) -> str:
    """Text in which reStructuredText finds no mark-up."""
    return re.sub(r"([\\*`|]|_(?!\w))", r"\\\1", text)


def _warned(table: pl.DataFrame, of: FigureKind) -> list[str]:
    """Everything with a warning: where it is, and what the warning says."""
    fields = field_names(table)
    at = [name for name in of.axes if name in fields and table[name].n_unique() > 1]
    at = [name for name in at if name not in ("processor", "scorer")]
    return [
        system.label + "".join(f", {name} {shown(row[name])}" for name in at) + f": {row['warnings']}"
        for system in systems(table, of.axes)
        for row in once(system.rows).iter_rows(named=True)
        if row["warnings"]
    ]


def _repeated(table: pl.DataFrame, of: FigureKind) -> str:
    """How often each run was repeated, and what marks its interval."""
    mean, interval = ("Points", "bars") if of.part == "means" else ("Lines", "bands")
    counts = sorted(table["repetitions"].unique())
    if counts[-1] == 1:
        return f"{mean} are single runs: without repetitions there are no intervals, and nothing is ranked."
    number = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    return f"{mean} are means of {number} repetitions; {interval} are Student's t 95 % intervals over them."


def caption(of: FigureKind, table: pl.DataFrame) -> str:
    """The caption of a figure of this kind, reStructuredText that reads well as plain text."""
    fixed = [
        field for field in field_names(table) if table[field].n_unique() == 1 and table[field][0] not in (None, 0, "")
    ]
    paragraphs = [
        "Held fixed: "
        + ", ".join(f"{field} {shown(table[field][0])}" for field in fixed if field not in UNMENTIONED)
        + ".",
        "Machine: " + "; ".join(table["machine"].unique(maintain_order=True)) + ".",
    ]
    metrics = [name for name in of.metrics if name in table.columns and table[name].null_count() < len(table)]
    metric = chosen_metric(tuple(metrics), table)
    if metric and table["repetitions"].max() > 1 and (pairs := overlaps(table, of, metric)):
        what = metric.replace("_per_s", "/s").replace("_", " ")
        paragraphs.append(f"Not ranked, because their intervals of {what} overlap: {_listed(pairs)}.")
    if named := notes(table):
        paragraphs.append(f"Substitutes: {'; '.join(named)}.")
    if warned := _warned(table, of):
        paragraphs.append(f"Warnings (ringed): {_listed(warned)}.")
    return f"**{of.title}.** {of.text} {_repeated(table, of)}\n\n" + "\n\n".join(map(_plain, paragraphs)) + "\n"
