"""The whole distribution of latency, its tail on a logarithmic axis."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from crayfish.results import looks, plots
from crayfish.results.tables import chosen_metric
from crayfish.spec.contracts import FigureKind

PANELS = ("model", "points_per_event", "rate_events_per_s")
AXES = ("quantile", *PANELS)
TICKS = {1: "0", 0.5: "50", 0.1: "90", 0.01: "99", 0.001: "99.9", 0.0001: "99.99", 0.00001: "99.999"}


def draw(table: pl.DataFrame) -> Figure:
    metric = chosen_metric(("latency_ms",), table)
    table = table.with_columns(above=1 - pl.col("quantile"))
    parts = looks.panels(table, PANELS)
    figure, axes = plots.canvas(parts, PANELS[-1])
    drawn = looks.systems(table, AXES)
    for one, (title, rows) in zip(axes, parts, strict=True):
        for system in drawn:
            for own in system.segments(rows):
                marked = [place for place, above in enumerate(own["above"]) if round(above, 9) in TICKS]
                plots.draw_line(one, system, own["above"].to_numpy(), own, metric, along="x", marked=marked[1:])
        for first, second in looks.twins(drawn):
            own, other = (drawn[place].rows_among(rows) for place in (first, second))
            plots.draw_twin_band(one, own, other, "above", metric, along="x")
        plots.entitle(one, title)
        percentile_axis(one, table["above"].min() / 1.5)
    plots.value_axis(axes, table, [metric], log=True, along="x")
    plots.legend(figure, plots.system_handles(drawn), table)
    return figure


def percentile_axis(axes: Axes, lowest: float) -> None:
    """The share of longer latencies on a logarithmic axis down to `lowest`, with the percentiles as its ticks."""
    axes.set_yscale("log")
    axes.set_ylim(lowest, 1.1)
    shown = [share for share in TICKS if share >= lowest]
    axes.yaxis.set_major_locator(FixedLocator(shown))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticks(shown, [TICKS[share] for share in shown])
    if axes.get_subplotspec().is_first_col():
        axes.set_ylabel("percentile (1 - F, logarithmic)")


FIGURE_KIND = FigureKind(
    title="Latency distribution",
    text=(
        "Complementary cumulative distribution (1 - F) of the latency from an event's intended send time until its"
        " prediction was received, on a logarithmic axis: the share of events whose latency exceeds the value on the"
        " horizontal axis, as far as at least 10 events of every repetition exceed it."
    ),
    part="curves",
    axes=AXES,
    metrics=(),
    draw=draw,
)
