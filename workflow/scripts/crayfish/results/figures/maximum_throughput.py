"""The highest throughput of each system."""

import polars as pl
from matplotlib.figure import Figure

from crayfish.results import looks, plots
from crayfish.spec.contracts import FigureKind

APART = ("model", "points_per_event")
AXES = APART
METRICS = ("throughput_events_per_s",)


def select(table: pl.DataFrame) -> pl.DataFrame:
    """Of each system the row whose throughput is highest, over all parallelisms."""
    rows = [
        looks.inside(system, part).sort(METRICS[0], descending=True, nulls_last=True)[:1]
        for _, part in looks.panels(table, APART)
        for system in looks.systems(table, ("parallelism", *APART))
    ]
    return pl.concat(rows)


def draw(table: pl.DataFrame) -> Figure:
    return plots.ranked_rows(table, METRICS[0], "throughput (events/s)", APART)


FIGURE_KIND = FigureKind(
    title="Maximum throughput",
    text=(
        "Predictions appended to the output topic per second, of systems that are saturated, each at the parallelism at"
        " which its mean is highest; beside it the mean and its interval."
    ),
    part="means",
    axes=AXES,
    metrics=METRICS,
    draw=draw,
    select=select,
)
