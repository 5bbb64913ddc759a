"""The highest throughput of each system."""

import polars as pl
from matplotlib.figure import Figure

from crayfish.results import looks, plots
from crayfish.results.ranking import Ranks
from crayfish.spec.contracts import FigureKind

AXES = ("model", "points_per_event")
METRIC = "throughput_events_per_s"


def select(table: pl.DataFrame) -> pl.DataFrame:
    """Of each system the row whose throughput is highest, over all parallelisms."""
    rows = [
        system.rows_among(part).sort(METRIC, descending=True, nulls_last=True)[:1]
        for _, part in looks.panels(table, AXES)
        for system in looks.systems(table, ("parallelism", *AXES))
    ]
    return pl.concat(rows)


def draw(table: pl.DataFrame, ranks: Ranks) -> Figure:
    return plots.ranked_rows(table, METRIC, AXES, ranks)


FIGURE_KIND = FigureKind(
    title="Maximum throughput",
    text=(
        "Predictions appended to the output topic per second by saturated systems, each at the parallelism with its"
        " highest mean; beside each point the mean and its interval, between two rows how many times the throughput of"
        " the lower one the upper one has, where the two are told apart."
    ),
    part="means",
    axes=AXES,
    metrics=(METRIC,),
    draw=draw,
    select=select,
    ranked=True,
)
