"""Throughput of saturated systems by their number of parallel instances."""

import polars as pl
from matplotlib.figure import Figure

from crayfish import plots

PART = "means"
TITLE = "Throughput by parallelism"
TEXT = (
    "Predictions appended to the output topic per second, of systems that are saturated. What belongs to one"
    " parallelism stands a little apart, so that intervals do not cover each other."
)
APART = ("model", "points_per_event")
AXES = ("parallelism", *APART)
METRICS = ("throughput_events_per_s",)


def draw(table: pl.DataFrame) -> Figure:
    return plots.by_column(table, "parallelism", APART, METRICS[0], ("parallelism", "throughput (events/s)"))
