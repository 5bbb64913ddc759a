"""The whole distribution of latency, its tail on a logarithmic axis."""

import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from crayfish.results import looks, plots
from crayfish.spec.contracts import FigureKind

APART = ("model", "points_per_event", "rate_events_per_s")
AXES = ("quantile", *APART)
METRICS = ()
TICKS = {1: "0", 0.5: "50", 0.1: "90", 0.01: "99", 0.001: "99.9", 0.0001: "99.99", 0.00001: "99.999"}


def draw(table: pl.DataFrame) -> Figure:
    plots.chosen_metric(("latency_ms",), table)
    table = table.with_columns(above=1 - pl.col("quantile"))
    parts = looks.panels(table, APART)
    figure, axes = plots.canvas(parts, APART[-1])
    everyone = looks.systems(table, AXES)
    for one, (title, rows) in zip(axes, parts, strict=True):
        for system in everyone:
            for _, own in looks.inside(system, rows).group_by("run", "segment", maintain_order=True):
                marked = [place for place, above in enumerate(own["above"]) if round(above, 9) in TICKS]
                plots.draw_line(one, system, own["above"].to_numpy(), own, "latency_ms", along="x", marked=marked[1:])
        plots.entitle(one, title)
        one.set_yscale("log")
        one.set_ylim(table["above"].min() / 1.5, 1.1)
        shown = [share for share in TICKS if share >= table["above"].min() / 1.5]
        one.yaxis.set_major_locator(FixedLocator(shown))
        one.yaxis.set_minor_locator(NullLocator())
        one.set_yticks(shown, [TICKS[share] for share in shown])
        if one.get_subplotspec().is_first_col():
            one.set_ylabel("percentile (1 - F, logarithmic)")
    plots.value_axis(axes, table, ["latency_ms"], "latency (ms)", log=True, along="x")
    plots.legend(figure, plots.system_handles(everyone), table)
    return figure


FIGURE_KIND = FigureKind(
    title="Latency distribution",
    text=(
        "The share of events whose latency, from when an event was due until its prediction was received, is longer"
        " than"
        " the value on the horizontal axis: 1 - F on a logarithmic axis, as far down as 10 events of every"
        " repetition are"
        " longer. Where bands overlap, nothing is ranked."
    ),
    part="curves",
    axes=AXES,
    metrics=METRICS,
    draw=draw,
)
