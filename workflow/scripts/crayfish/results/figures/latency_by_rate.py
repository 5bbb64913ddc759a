"""The percentiles of latency at fixed input rates."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from crayfish.results import looks, plots
from crayfish.spec.contracts import FigureKind

AXES = ("model", "points_per_event", "rate_events_per_s")
METRICS = ("latency_p99_ms", "latency_p50_ms")
PARTS = {"p50": "p50", "p90": "p90", "p99": "p99", "p99_9": "p99.9", "max": "max"}


def draw(table: pl.DataFrame) -> Figure:
    parts = looks.panels(table, AXES)
    figure, axes = plots.canvas(parts, AXES[-1])
    everyone = looks.systems(table, AXES)
    for one, (title, rows) in zip(axes, parts, strict=True):
        for index, system in enumerate(everyone):
            draw_percentiles(one, system, looks.inside(system, rows), plots.dodge(index, len(everyone), 0.5))
        plots.entitle(one, title or looks.named("rate_events_per_s", table["rate_events_per_s"][0]))
        one.set_xticks(range(len(PARTS)), list(PARTS.values()))
        one.set_xlim(-0.5, len(PARTS) - 0.5)
    plots.value_axis(axes, table, [f"latency_{part}_ms" for part in PARTS], "latency (ms)", log=True)
    plots.legend(figure, plots.system_handles(everyone), table)
    return figure


def draw_percentiles(axes: Axes, system: looks.System, rows: pl.DataFrame, shift: float) -> None:
    """One system's percentiles as points of one line; the maximum, which is no percentile, stands alone."""
    for row in rows.iter_slices(1):
        columns = {end: [row[f"latency_{part}_ms{end}"][0] for part in PARTS] for end in ("", "_low", "_high")}
        points = pl.DataFrame({f"value{end}": pl.Series(values, dtype=pl.Float64) for end, values in columns.items()})
        points = points.with_columns(warnings=pl.lit(row["warnings"][0]))
        places = [index + shift for index in range(len(PARTS))]
        plots.draw_points(axes, system, places[:-1], points[:-1], "value")
        plots.draw_points(axes, system, places[-1:], points[-1:], "value", joined=False)


FIGURE_KIND = FigureKind(
    title="Latency by rate",
    text=(
        "Latency from when an event was due until its prediction was received: median, 90th, 99th and 99.9th percentile"
        " and the largest. A percentile is shown where at least 10 events lie above it in every repetition."
    ),
    part="means",
    axes=AXES,
    metrics=METRICS,
    draw=draw,
)
