"""Throughput of saturated systems by their number of parallel instances."""

import polars as pl
from matplotlib.figure import Figure

from crayfish.results import plots
from crayfish.spec.contracts import FigureKind

APART = ("model", "points_per_event")
AXES = ("parallelism", *APART)
METRICS = ("throughput_events_per_s",)


def draw(table: pl.DataFrame) -> Figure:
    return plots.by_column(table, "parallelism", APART, METRICS[0], ("parallelism", "throughput (events/s)"))


FIGURE_KIND = FigureKind(
    title="Throughput by parallelism",
    text=(
        "Predictions appended to the output topic per second, of systems that are saturated. What belongs to one"
        " parallelism stands a little apart, so that intervals do not cover each other."
    ),
    part="means",
    axes=AXES,
    metrics=METRICS,
    draw=draw,
)
