"""The highest rate that each system sustains."""

import polars as pl
from matplotlib.figure import Figure

from crayfish.results import plots
from crayfish.spec.contracts import FigureKind

APART = ("model", "points_per_event")
AXES = APART
METRICS = ("sustainable_events_per_s",)


def draw(table: pl.DataFrame) -> Figure:
    plots.chosen_metric(METRICS, table)
    return plots.ranked_rows(table, METRICS[0], "sustainable rate (events/s)", APART)


FIGURE_KIND = FigureKind(
    title="Sustainable rate",
    text=(
        "The highest rate of events at which the 99th percentile of latency stays under the objective and the backlog"
        " does not grow, found by search and confirmed by a longer run; beside it the mean and its interval."
    ),
    part="means",
    axes=AXES,
    metrics=METRICS,
    draw=draw,
)
