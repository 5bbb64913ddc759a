"""The highest rate that each system sustains."""

import polars as pl
from matplotlib.figure import Figure

from crayfish.results import plots
from crayfish.results.tables import chosen_metric
from crayfish.spec.contracts import FigureKind

AXES = ("model", "points_per_event")
METRIC = "sustainable_events_per_s"


def draw(table: pl.DataFrame) -> Figure:
    return plots.ranked_rows(table, chosen_metric((METRIC,), table), AXES)


FIGURE_KIND = FigureKind(
    title="Sustainable rate",
    text=(
        "The highest input rate at which the 99th percentile of latency stays below the objective and the backlog does"
        " not grow, found by search and confirmed by a longer run; beside each point the mean and its interval."
    ),
    part="means",
    axes=AXES,
    metrics=(METRIC,),
    draw=draw,
)
