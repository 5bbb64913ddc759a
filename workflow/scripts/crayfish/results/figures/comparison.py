"""Ways of doing the same, pair by pair: whatever varies beside system and load."""

from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from crayfish.results import looks, plots
from crayfish.results.ranking import Ranking, Ranks
from crayfish.results.tables import TIMEOUTS, chosen_metric, varying_columns
from crayfish.spec.contracts import FigureKind
from crayfish.spec.errors import CrayfishError

AXES = ("processor", "scorer", "model", "parallelism", "points_per_event", "rate_events_per_s")
METRICS = ("latency_p50_ms", "latency_mean_ms", "throughput_events_per_s")
MARKERS = "os^D"


def draw(table: pl.DataFrame, ranks: Ranks) -> Figure:
    fields = compared_fields(table)
    shown = shown_metrics(table)
    order = {key: place for place, key in enumerate(compared_values(table, fields))}
    parts = looks.panels(table, ("model",))
    split = [[pair for _, pair in rows.group_by(AXES, maintain_order=True)] for _, rows in parts]
    figure, grid = plots.row_canvas([len(pairs) for pairs in split], len(shown))
    for line, (title, rows), pairs in zip(grid, parts, split, strict=True):
        for axes, metric in zip(line, shown, strict=True):
            for place, pair in enumerate(pairs):
                draw_pair(axes, place, pair.drop_nulls(metric), fields, order, ranks(metric))
            plots.value_axis([axes], rows, [metric], along="x")
        plots.label_rows(line[0], [row_label(table, pair) for pair in pairs])
        plots.entitle(line[0], title, loc="left")
    plots.legend(figure, [handle(place, values_label(fields, key)) for key, place in order.items() if key], table)
    return figure


def compared_fields(table: pl.DataFrame) -> list[str]:
    """The fields that are compared: those that vary and are neither the system's, a row's, nor the load's.

    None in a table that was narrowed to one way.
    """
    if table["load"].n_unique() > 1:
        loads = ", ".join(table["load"].unique().sort())
        raise CrayfishError(f"the table holds several loads ({loads}): keep one, figures.NAME.where: {{load: [...]}}")
    return [name for name in varying_columns(table) if name not in (*AXES, *looks.LOAD, *TIMEOUTS)]


def shown_metrics(table: pl.DataFrame) -> list[str]:
    """Throughput, or the median (mean) of latency and its 99th percentile."""
    first = chosen_metric(METRICS, table)
    tail = first.startswith("latency") and table["latency_p99_ms"].null_count() < len(table)
    return [first, *(["latency_p99_ms"] if tail else [])]


def compared_values(table: pl.DataFrame, fields: list[str]) -> list[tuple]:
    """The compared values in the order of looks.VALUES; a single empty one of a table that holds one way only."""
    if not fields:
        return [()]
    orders = [list(looks.VALUES.get(name, {})) for name in fields]

    def sort_key(key: tuple) -> list:
        return [
            (order.index(value) if value in order else len(order), str(value))
            for order, value in zip(orders, key, strict=True)
        ]

    return sorted(table.select(fields).unique().rows(), key=sort_key)


def values_label(fields: list[str], key: tuple) -> str:
    return ", ".join(looks.short(name, value) for name, value in zip(fields, key, strict=True))


def row_label(table: pl.DataFrame, pair: pl.DataFrame) -> str:
    """The system, and what else tells a row from the others."""
    varying = [name for name in varying_columns(table) if name in AXES[3:]]
    scorer = looks.scorer_name(pair["scorer"][0], pair["substitutes"][0])
    details = [looks.short(name, pair[name][0]) for name in varying]
    return ", ".join([looks.display(pair["processor"][0]), scorer, *details])


def marker_of(place: int, color: str) -> dict[str, Any]:
    """The marker of a compared value."""
    filling = looks.FILLINGS[place % len(looks.FILLINGS)]
    return {"marker": MARKERS[place % len(MARKERS)], "markersize": 5, **looks.filled(filling, color)}


def handle(place: int, text: str) -> Line2D:
    return Line2D([], [], color="black", linestyle="none", label=text, **marker_of(place, "black"))


def draw_pair(axes: Axes, place: int, pair: pl.DataFrame, fields: list[str], order: dict, ranking: Ranking) -> None:
    """The compared values on one row, joined, with a small vertical offset."""
    metric = ranking.metric
    rows = sorted(pair.iter_rows(named=True), key=lambda row: order[tuple(row[name] for name in fields)])
    if not rows:
        return
    color, _ = looks.looks_of_processor(rows[0]["processor"])
    places = [order[tuple(row[name] for name in fields)] for row in rows]
    heights = [place + plots.dodge(index, len(order), 0.36) for index in places]
    axes.plot([row[metric] for row in rows], heights, color=color, linewidth=0.8, zorder=1)
    for row, index, height in zip(rows, places, heights, strict=True):
        marker = marker_of(index, color)
        plots.draw_interval(axes, row, metric, height, color=color, capsize=2, elinewidth=0.8, **marker)
    texts = [plots.ahead_by(ranking, row, rows[0]) for row in rows[1:]]
    plots.beside(axes, place, " ".join(filter(None, texts)))


FIGURE_KIND = FigureKind(
    title="Comparison",
    text=(
        "Runs that differ in one field only: throughput of saturated systems or, of a paced load, latency from an"
        " event's intended send time until its prediction was received (the median, or the mean where some run has"
        " fewer than 20 events, and the 99th percentile where there are 1 000 events). Beside each pair: the ratio of"
        " the second to the first with its interval, where the two are told apart."
    ),
    part="means",
    axes=AXES,
    metrics=METRICS,
    draw=draw,
    ranked=True,
)
