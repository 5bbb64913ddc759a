"""Captions of figures: fixed fields, repetitions, machine, the ranking, substitutes, warnings."""

from __future__ import annotations

import re

import polars as pl

from crayfish.results import looks
from crayfish.results.ranking import LEVEL, Pair, Panel, Ranking, Ranks
from crayfish.results.tables import GPU, TIMEOUTS, chosen_metric, first_rows, notes, run_columns
from crayfish.spec.contracts import FigureKind

MOST_NAMED = 8  # warnings, panels or pairs of systems that a caption spells out
FLOOR_RATIO = 1.2  # a system whose throughput comes this near the floor's may be limited by the measuring system


def place_columns(table: pl.DataFrame, kind: FigureKind) -> list[str]:
    """The axes of the figure that vary and are not in the systems' names: what tells where in the figure a point is."""
    varying = [name for name in kind.axes if table[name].n_unique() > 1]
    return [name for name in varying if name not in ("processor", "scorer")]


def ranked_by(kind: FigureKind, table: pl.DataFrame) -> list[str]:
    """The metric that ranks the systems of a figure, or none."""
    present = [name for name in kind.metrics if name in table.columns and table[name].null_count() < len(table)]
    return [chosen_metric(tuple(present), table)] if present else []


def by_words(pair: Pair, metric: str) -> str:
    """By how much the first of two systems is ahead: "1.40 [1.20, 1.63]"."""
    unit = f" {looks.column(metric).unit}" if pair.plain else ""
    ends = "" if pair.low is None else f" [{pair.low:.2f}, {pair.high:.2f}]"
    return f"{pair.ratio:.2f}{ends}{unit}"


def place_in_words(ranking: Ranking, panel: Panel) -> str:
    """Where in the figure a panel is, as "input rate 400 events/s"; empty where there is one place only."""
    named = zip(ranking.keys, panel.place, strict=True)
    return ", ".join(looks.long(name, value) for name, value in named if name not in ("processor", "scorer"))


def verdicts(panel: Panel, metric: str) -> str:
    """What was found of a panel's systems: each with the next one that it is ahead of, then those not told apart."""
    ahead: dict[str, str] = {}
    for pair in sorted(panel.ranked, key=lambda pair: panel.order.index(pair.second)):
        if pair.told:
            ahead.setdefault(pair.first, f"{pair.first} ahead of {pair.second} by {by_words(pair, metric)}")
    told = [ahead[name] for name in panel.order if name in ahead]
    untold = [f"{pair.first} and {pair.second}" for pair in panel.ranked if not pair.told]
    pairs = ", ".join(untold)
    if len(untold) > MOST_NAMED:
        pairs = f"{len(untold)} of {len(panel.ranked)} pairs, see the table of the ranking"
    least = [pair.detectable for pair in panel.ranked if pair.detectable is not None]
    if untold and least:
        unit = f" {looks.column(metric).unit}" if any(pair.plain for pair in panel.ranked) else ""
        could = f" (a difference of {max(least):.2f}{unit} could have been told)"
        told.append(f"not told apart: {pairs}{could}")
    elif untold:
        told.append(f"too few repetitions to rank {pairs}")
    return "; ".join(told)


def ranking_in_words(ranking: Ranking) -> list[str]:
    """The paragraphs about the ranking of a figure: how, what was found, of twins, of the order within rounds."""
    panels = [panel for panel in ranking.panels if panel.ranked]
    found = []
    if panels:
        better = "more" if looks.column(ranking.metric).higher else "less"
        rounds = "/".join(str(number) for number in sorted({panel.rounds for panel in panels}))
        told = [
            ": ".join(filter(None, (place_in_words(ranking, one), verdicts(one, ranking.metric)))) for one in panels
        ]
        found.append(
            f"Ranking by {looks.label(ranking.metric)}, {better} is better ({rounds} rounds; ratios from a model of"
            f" system and round, Tukey's 95 % intervals over each panel{refinements(panels)}): {listed(told)}."
        )
    of_twins = [(place_in_words(ranking, one), pair) for one in ranking.panels for pair in one.twins]
    if of_twins:
        told = [": ".join(filter(None, (place, by_words(pair, ranking.metric)))) for place, pair in of_twins]
        found.append(f"The same system twice (A/A), which is noise: {listed(told)}.")
        if wrong := [place or pair.first for place, pair in of_twins if pair.told]:
            found[-1] += (
                f" Warning: the twins were told apart ({listed(wrong)}), which happens in 5 % of panels; where it"
                " happens more often, differences of this size are noise."
            )
    tested = [panel for panel in panels if panel.position_p is not None]
    if early := [panel for panel in tested if (panel.position_p or 0.0) * len(tested) < LEVEL]:
        told = [" ".join(filter(None, (place_in_words(ranking, one), f"p = {one.position_p:.2g}"))) for one in early]
        found.append(f"Warning: the position of a run within its round had an effect: {listed(told)}.")
    return found


def refinements(panels: list[Panel]) -> str:
    """What the models of some panels have more than system and round."""
    counts = {
        "the machine's speed as a covariate": sum(panel.speed for panel in panels),
        "a variance of each system": sum(panel.unequal for panel in panels),
    }
    return "".join(f"; {what} in {count} of {len(panels)}" for what, count in counts.items() if count)


def floors_in_words(table: pl.DataFrame, kind: FigureKind, metric: str) -> list[str]:
    """Of each place with a floor: where the measuring system itself limits what the figure shows."""
    keys = [name for name in place_columns(table, kind) if name in run_columns(table)]
    limited = []
    drawn = looks.systems(table, kind.axes)
    for floor in (system for system in drawn if system.floor):
        for row in first_rows(floor.rows.drop_nulls(metric)).iter_rows(named=True):
            words = ", ".join(looks.long(name, row[name]) for name in keys)
            place = f"{words}: " if words else ""
            if "overloaded" in row["warnings"]:
                limited.append(f"{place}{floor.label} was itself overloaded")
            if not looks.column(metric).higher:
                continue
            close = [
                system.label
                for system in drawn
                for own in first_rows(system.rows.drop_nulls(metric)).iter_rows(named=True)
                if not (system.floor or system.twin_of) and all(own[name] == row[name] for name in keys)
                if row[metric] < FLOOR_RATIO * own[metric]
            ]
            if close:
                limited.append(f"{place}{floor.label} is less than {FLOOR_RATIO} times {', '.join(close)}")
    return limited


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
    own = "variances shrunk towards the mean of those under the same load" if kind.part == "means" else "each alone"
    counts = sorted(table["repetitions"].unique())
    if counts[-1] == 1:
        return f"{mean} are single runs: without repetitions there are no confidence intervals, and nothing is ranked."
    number = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    return (
        f"{mean} are geometric means of {number} repetitions; {interval} are 95 % confidence intervals (Student's t on"
        f" logarithms, {own})."
    )


def fixed_in_words(table: pl.DataFrame) -> str:
    """The columns that say what was run and hold one value, unless it is empty or 0, or changes no metric."""
    own = table.filter(pl.Series([not looks.is_floor(name) for name in table["processor"]], dtype=pl.Boolean))
    table = own if len(own) else table  # a floor has a scorer of its own
    columns = [name for name in run_columns(table) if name not in TIMEOUTS and table[name].n_unique() == 1]
    return ", ".join(looks.long(name, table[name][0]) for name in columns if table[name][0] not in (None, 0, ""))


def machines_in_words(table: pl.DataFrame) -> str:
    """What hardware the runs had, and a warning where it was not the same for all: one whose GPU only some of them
    scored on is the same for those too that did not."""
    parts = dict.fromkeys(part for cell in table["machine"] for part in cell.split("; "))
    machines = [part for part in parts if not any(other.startswith(f"{part}, {GPU} ") for other in parts)]
    differ = " Warning: runs on different hardware do not compare." if len(machines) > 1 else ""
    return f"Machine: {'; '.join(machines)}.{differ}"


def caption(kind: FigureKind, table: pl.DataFrame, ranks: Ranks | None = None) -> str:
    """The caption of a figure of this kind, reStructuredText that reads well as plain text. ranks: see FigureKind; None
    ranks nothing."""
    paragraphs = [
        f"Held fixed: {fixed_in_words(table)}.",
        machines_in_words(table),
    ]
    for metric in ranked_by(kind, table):
        if ranks and table["repetitions"].max() > 1:
            paragraphs += ranking_in_words(ranks(metric))
        if limited := floors_in_words(table, kind, metric):
            paragraphs.append(f"Limited by the measuring system, not by what it measures: {listed(limited)}.")
    if substitutes := notes(table):
        paragraphs.append(f"Substitutes: {'; '.join(substitutes)}.")
    if warned := warnings_in_words(table, kind):
        paragraphs.append(f"Warnings (ringed): {listed(warned)}.")
    first = f"**{kind.title}.** {kind.text} {repetitions_in_words(table, kind)}"
    return "\n\n".join([first, *map(escaped, paragraphs)]) + "\n"


def failures(table: pl.DataFrame, kind: FigureKind) -> str:
    """The caption's last paragraph: the runs that failed in every repetition, which the figure does not show; empty
    where there is none."""
    failed = table.filter(pl.col("repetitions") == 0)
    if not len(failed):
        return ""
    places = (name for name in run_columns(table) if name in kind.axes and name not in ("processor", "scorer"))
    columns = [name for name in places if table[name].n_unique() > 1]
    told = [
        ", ".join([system.label, *(looks.long(name, row[name]) for name in columns if row[name])])
        + f": {row['warnings']}"
        for system in looks.systems(table, kind.axes)
        for row in first_rows(system.rows_among(failed)).iter_rows(named=True)
    ]
    return "\n" + escaped(f"Failed runs (not drawn): {listed(list(dict.fromkeys(told)))}.") + "\n"
