"""The percentiles of latency at fixed input rates."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from crayfish.results import looks, plots
from crayfish.spec.contracts import FigureKind

AXES = ("model", "points_per_event", "rate_events_per_s")
METRICS = ("latency_p99_ms", "latency_p50_ms")
STATISTICS = {"p50": "p50", "p90": "p90", "p99": "p99", "p99_9": "p99.9", "max": "max"}


def draw(table: pl.DataFrame) -> Figure:
    parts = looks.panels(table, AXES)
    figure, axes = plots.canvas(parts, AXES[-1])
    drawn = looks.systems(table, AXES)
    for one, (title, rows) in zip(axes, parts, strict=True):
        for index, system in enumerate(drawn):
            draw_percentiles(one, system, system.rows_among(rows), plots.dodge(index, len(drawn), 0.5))
        for first, second in looks.twins(drawn):
            plots.draw_twins(one, *twin_points(rows, drawn, first, second))
        plots.entitle(one, title or looks.short("rate_events_per_s", table["rate_events_per_s"][0]))
        one.set_xticks(range(len(STATISTICS)), list(STATISTICS.values()))
        one.set_xlim(-0.5, len(STATISTICS) - 0.5)
    plots.value_axis(axes, table, [f"latency_{name}_ms" for name in STATISTICS], looks.label("latency_ms"), log=True)
    plots.legend(figure, plots.system_handles(drawn), table)
    return figure


def draw_percentiles(axes: Axes, system: looks.System, rows: pl.DataFrame, shift: float) -> None:
    """One system's percentiles as points of one line; the maximum, which is no percentile, is not joined to them."""
    for row in rows.iter_slices(1):
        columns = {end: [row[f"latency_{name}_ms{end}"][0] for name in STATISTICS] for end in ("", "_low", "_high")}
        points = pl.DataFrame({f"value{end}": pl.Series(values, dtype=pl.Float64) for end, values in columns.items()})
        points = points.with_columns(warnings=pl.lit(row["warnings"][0]))
        places = [index + shift for index in range(len(STATISTICS))]
        plots.draw_points(axes, system, places[:-1], points[:-1], "value")
        plots.draw_points(axes, system, places[-1:], points[-1:], "value", joined=False)


def twin_points(rows: pl.DataFrame, drawn: list[looks.System], *places: int) -> list[list[tuple]]:
    """The points of a system and of its twin, each at the statistics that both have."""
    found = []
    for place in places:
        own, shift = drawn[place].rows_among(rows), plots.dodge(place, len(drawn), 0.5)
        values = {name: own[f"latency_{name}_ms"][0] for name in STATISTICS} if len(own) else {}
        found.append({name: (list(STATISTICS).index(name) + shift, value) for name, value in values.items() if value})
    common = [name for name in STATISTICS if all(name in points for points in found)]
    return [[points[name] for name in common] for points in found]


FIGURE_KIND = FigureKind(
    title="Latency by rate",
    text=(
        "Latency from an event's intended send time until its prediction was received: median, 90th, 99th and 99.9th"
        " percentile and maximum. A percentile is shown where at least 10 events lie above it in every repetition."
    ),
    part="means",
    axes=AXES,
    metrics=METRICS,
    draw=draw,
)
