"""The median latency of each second."""

import polars as pl
from matplotlib.figure import Figure

from crayfish.results import looks, plots
from crayfish.spec.contracts import FigureKind

AXES = ("model", "points_per_event", "rate_events_per_s", "scorer")
METRICS = ()


def draw(table: pl.DataFrame) -> Figure:
    plots.chosen_metric(("latency_p50_ms",), table)
    parts = looks.panels(table, AXES)
    figure, axes = plots.canvas(parts, AXES[-1])
    everyone = looks.systems(table, AXES)
    for one, (title, rows) in zip(axes, parts, strict=True):
        for system in everyone:
            for _, own in looks.inside(system, rows).group_by("run", "segment", maintain_order=True):
                plots.draw_line(one, system, own["second"].to_numpy() + 0.5, own, "latency_p50_ms")
        one.axvspan(0, rows["warmup_s"].max(), color="#eeeeee", zorder=0, linewidth=0)
        plots.entitle(one, title)
        one.set_xlim(0, table["second"].max() + 1)
    plots.label_x(axes, "time (s)")
    plots.value_axis(axes, table, ["latency_p50_ms"], "median latency (ms)")
    plots.legend(figure, plots.system_handles(everyone), table)
    return figure


FIGURE_KIND = FigureKind(
    title="Latency over time",
    text=(
        "Median latency, from when an event was due until its prediction was received, of the events due in each"
        " second,"
        " where there are at least 20 of them in every repetition. The shaded seconds are the warm-up, which counts"
        " in no"
        " other figure. Where bands overlap, nothing is ranked."
    ),
    part="series",
    axes=AXES,
    metrics=METRICS,
    draw=draw,
)
