"""Latency of one event by the number of its data points."""

import polars as pl
from matplotlib.figure import Figure

from crayfish.results import plots
from crayfish.spec.contracts import FigureKind

APART = ("model", "parallelism", "rate_events_per_s")
AXES = ("points_per_event", *APART)
METRICS = ("latency_p50_ms", "latency_mean_ms")
NAMES = {"latency_p50_ms": "median latency (ms)", "latency_mean_ms": "mean latency (ms)"}


def draw(table: pl.DataFrame) -> Figure:
    metric = plots.chosen_metric(METRICS, table)
    return plots.by_column(table, "points_per_event", APART, metric, ("data points an event", NAMES[metric]))


FIGURE_KIND = FigureKind(
    title="Latency by batch size",
    text=(
        "Latency from when an event was due until its prediction was received, by the number of data points an"
        " event: the"
        " median, or the mean where some run has fewer than the 20 events that a median needs. What belongs to one"
        " number stands a little apart, so that intervals do not cover each other."
    ),
    part="means",
    axes=AXES,
    metrics=METRICS,
    draw=draw,
)
