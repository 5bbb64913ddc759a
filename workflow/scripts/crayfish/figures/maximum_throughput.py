"""The highest throughput of each system."""

import polars as pl
from matplotlib.figure import Figure

from crayfish import plots

PART = "means"
TITLE = "Maximum throughput"
TEXT = (
    "Predictions appended to the output topic per second, of systems that are saturated, each at the parallelism at"
    " which its mean is highest; beside it the mean and its interval."
)
APART = ("model", "points_per_event")
AXES = APART
METRICS = ("throughput_events_per_s",)


def select(table: pl.DataFrame) -> pl.DataFrame:
    """Of each system the row whose throughput is highest, over all parallelisms."""
    rows = [
        plots.inside(system, part).sort(METRICS[0], descending=True, nulls_last=True)[:1]
        for _, part in plots.panels(table, APART)
        for system in plots.systems(table, ("parallelism", *APART))
    ]
    return pl.concat(rows)


def draw(table: pl.DataFrame) -> Figure:
    return plots.ranked_rows(table, METRICS[0], "throughput (events/s)", APART)
