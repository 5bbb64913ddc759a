"""Latency of one event by the number of its data points."""

import polars as pl
from matplotlib.figure import Figure

from crayfish.results import plots
from crayfish.results.tables import chosen_metric
from crayfish.spec.contracts import FigureKind

PANELS = ("model", "parallelism", "rate_events_per_s")
AXES = ("points_per_event", *PANELS)
METRICS = ("latency_p50_ms", "latency_mean_ms")


def draw(table: pl.DataFrame) -> Figure:
    return plots.by_column(table, "points_per_event", PANELS, chosen_metric(METRICS, table))


FIGURE_KIND = FigureKind(
    title="Latency by batch size",
    text=(
        "Latency from an event's intended send time until its prediction was received, by the number of data points per"
        " event: the median, or the mean where some run has fewer than the 20 events that a median needs. Points are"
        " offset horizontally for legibility."
    ),
    part="means",
    axes=AXES,
    metrics=METRICS,
    draw=draw,
)
