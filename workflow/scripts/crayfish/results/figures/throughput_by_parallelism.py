"""Throughput of saturated systems by their number of parallel instances."""

import polars as pl
from matplotlib.figure import Figure

from crayfish.results import plots
from crayfish.spec.contracts import FigureKind

PANELS = ("model", "points_per_event")
AXES = ("parallelism", *PANELS)
METRIC = "throughput_events_per_s"


def draw(table: pl.DataFrame) -> Figure:
    return plots.by_column(table, "parallelism", PANELS, METRIC)


FIGURE_KIND = FigureKind(
    title="Throughput by parallelism",
    text=(
        "Predictions appended to the output topic per second by saturated systems. Points are offset horizontally for"
        " legibility."
    ),
    part="means",
    axes=AXES,
    metrics=(METRIC,),
    draw=draw,
)
