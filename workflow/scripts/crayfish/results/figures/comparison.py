"""Two ways of doing the same, pair by pair: whatever varies beside system and load."""

import itertools

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from crayfish.results import looks, plots
from crayfish.results.tables import UNMENTIONED, varied
from crayfish.spec import metrics
from crayfish.spec.contracts import FigureKind
from crayfish.spec.errors import CrayfishError

AXES = ("processor", "scorer", "model", "parallelism", "points_per_event", "rate_events_per_s")
METRICS = ("latency_p50_ms", "latency_mean_ms", "throughput_events_per_s")
NAMES = {
    "latency_p50_ms": "median latency (ms)",
    "latency_mean_ms": "mean latency (ms)",
    "latency_p99_ms": "p99 of latency (ms)",
    "throughput_events_per_s": "throughput (events/s)",
}


def draw(table: pl.DataFrame) -> Figure:
    fields = compared(table)
    metrics = shown_metrics(table)
    order = {key: place for place, key in enumerate(values_of(table, fields))}
    parts = looks.panels(table, ("model",))
    split = [list(rows.group_by(AXES, maintain_order=True)) for _, rows in parts]
    figure, grid = plots.row_canvas([len(pairs) for pairs in split], len(metrics))
    for line, (title, rows), pairs in zip(grid, parts, split, strict=True):
        for axes, metric in zip(line, metrics, strict=True):
            for place, (_, pair) in enumerate(pairs):
                draw_pair(axes, place, pair, fields, order, metric)
            plots.value_axis([axes], rows, [metric], NAMES[metric], along="x")
        plots.label_rows(line[0], [row_label(table, pair) for _, pair in pairs])
        plots.entitle(line[0], title, loc="left")
    plots.legend(figure, [handle(place, names(fields, key)) for key, place in order.items() if key], table)
    return figure


def compared(table: pl.DataFrame) -> list[str]:
    """The fields that are compared: those that vary and are neither the system's, a row's, nor the load's.

    None in a table that was narrowed to one way.
    """
    found = [name for name in varied(table) if name not in (*AXES, *looks.LOAD, *UNMENTIONED)]
    if table["load"].n_unique() > 1:
        loads = ", ".join(table["load"].unique().sort())
        raise CrayfishError(f"the table holds several loads ({loads}): keep one, figures.NAME.where: {{load: [...]}}")
    return found


def shown_metrics(table: pl.DataFrame) -> list[str]:
    """Throughput, or the median (mean) of latency and its p99."""
    first = plots.chosen_metric(METRICS, table)
    tail = first.startswith("latency") and table["latency_p99_ms"].null_count() < len(table)
    return [first, *(["latency_p99_ms"] if tail else [])]


def values_of(table: pl.DataFrame, fields: list[str]) -> list[tuple]:
    """The compared values, the ordinary one first; a single empty one of a table that holds one way only."""
    if not fields:
        return [()]
    known = [list(looks.VALUES.get(name, {})) for name in fields]

    def place(key: tuple) -> list:
        return [(of.index(value) if value in of else len(of), str(value)) for of, value in zip(known, key, strict=True)]

    return sorted(table.select(fields).unique().rows(), key=place)


def names(fields: list[str], key: tuple) -> str:
    return ", ".join(looks.named(name, value) for name, value in zip(fields, key, strict=True))


def row_label(table: pl.DataFrame, pair: pl.DataFrame) -> str:
    """The system, and what else tells a row from the others."""
    apart = [name for name in varied(table) if name in AXES[3:]]
    scorer = looks.scorer_name(pair["scorer"][0], pair["substitutes"][0])
    return ", ".join([looks.shown(pair["processor"][0]), scorer, *(looks.named(name, pair[name][0]) for name in apart)])


def marker_of(place: int, color: str) -> dict:
    """The marker of a compared value."""
    filling = looks.FILLINGS[place % len(looks.FILLINGS)]
    return {"marker": "os^D"[place % 4], "markersize": 5, **looks.filled(filling, color)}


def handle(place: int, label: str) -> Line2D:
    return Line2D([], [], color="black", linestyle="none", label=label, **marker_of(place, "black"))


def draw_pair(axes: Axes, place: int, pair: pl.DataFrame, fields: list[str], order: dict, metric: str) -> None:
    """The compared values on one row, joined, a little apart in height."""
    pair = pair.drop_nulls(metric)
    rows = sorted(pair.iter_rows(named=True), key=lambda row: order[tuple(row[name] for name in fields)])
    if not rows:
        return
    color, _ = looks.looks_of_processor(rows[0]["processor"])
    places = [order[tuple(row[name] for name in fields)] for row in rows]
    heights = [place + plots.dodge(index, len(order), 0.36) for index in places]
    axes.plot([row[metric] for row in rows], heights, color=color, linewidth=0.8, zorder=1)
    for row, index, height in zip(rows, places, heights, strict=True):
        mean = row[metric]
        low, high = (mean if row[f"{metric}_{end}"] is None else row[f"{metric}_{end}"] for end in ("low", "high"))
        axes.errorbar(
            mean,
            height,
            xerr=[[mean - low], [high - mean]],
            color=color,
            capsize=2,
            elinewidth=0.8,
            **marker_of(index, color),
        )
        if row["warnings"]:
            axes.plot([mean], [height], **plots.RING)
    plots.beside(axes, place, " ".join(multiples(rows, metric)))


def multiples(rows: list[dict], metric: str) -> list[str]:
    """Each further value as a multiple of the first, where their intervals part."""
    ends = [
        metrics.Interval(row[metric], row[f"{metric}_low"], row[f"{metric}_high"], row["repetitions"]) for row in rows
    ]
    return [
        f"{other.mean / first.mean:.2f}\u00d7"
        for first, other in itertools.product(ends[:1], ends[1:])
        if first.mean and metrics.intervals_part(first, other)
    ]


FIGURE_KIND = FigureKind(
    title="Comparison",
    text=(
        "Pairs of runs that differ in one thing alone: throughput of systems that are saturated or, of a paced load,"
        " latency from when an event was due until its prediction was received (its median, or its mean where some"
        " run has"
        " fewer than 20 events, and its 99th percentile where there are 1 000). The number beside a pair is the"
        " second's"
        " mean as a multiple of the first's; it stands there only where their intervals part."
    ),
    part="means",
    axes=AXES,
    metrics=METRICS,
    draw=draw,
)
