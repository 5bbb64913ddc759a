"""TEMPLATE: say here what the figure shows."""

import polars as pl
from matplotlib.figure import Figure

from crayfish.results import plots
from crayfish.results.ranking import Ranks
from crayfish.spec.contracts import FigureKind

AXES = ("model", "points_per_event", "rate_events_per_s", "parallelism")
METRIC = "throughput_events_per_s"


def draw(table: pl.DataFrame, ranks: Ranks) -> Figure:
    """A row a system, sorted by its mean; a panel for each combination of what AXES names."""
    return plots.ranked_rows(table, METRIC, AXES, ranks)


FIGURE_KIND = FigureKind(
    title="TEMPLATE",
    text="Predictions appended to the output topic per second; beside each point the mean and its interval.",
    part="means",
    axes=AXES,
    metrics=(METRIC,),
    draw=draw,
    ranked=True,  # `draw` takes the ranking too; without this line, the table alone
)
