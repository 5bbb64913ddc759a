"""The median latency of each second."""

import polars as pl
from matplotlib.figure import Figure

from crayfish.results import looks, plots
from crayfish.results.tables import chosen_metric
from crayfish.spec.contracts import FigureKind

AXES = ("model", "points_per_event", "rate_events_per_s", "scorer")


def draw(table: pl.DataFrame) -> Figure:
    metric = chosen_metric(("latency_p50_ms",), table)
    parts = looks.panels(table, AXES)
    figure, axes = plots.canvas(parts, AXES[-1])
    drawn = looks.systems(table, AXES)
    for one, (title, rows) in zip(axes, parts, strict=True):
        for system in drawn:
            for own in system.segments(rows):
                plots.draw_line(one, system, own["second"].to_numpy() + 0.5, own, metric)
        for first, second in looks.twins(drawn):
            own, other = (
                drawn[place].rows_among(rows).with_columns(at=pl.col("second") + 0.5) for place in (first, second)
            )
            plots.draw_twin_band(one, own, other, "at", metric)
        one.axvspan(0, rows["warmup_s"].max(), color="#eeeeee", zorder=0, linewidth=0)
        plots.entitle(one, title)
        one.set_xlim(0, table["second"].max() + 1)
    plots.label_x(axes, looks.label("second"))
    plots.value_axis(axes, table, [metric])
    plots.legend(figure, plots.system_handles(drawn), table)
    return figure


FIGURE_KIND = FigureKind(
    title="Latency over time",
    text=(
        "Median latency, from an event's intended send time until its prediction was received, of the events due in"
        " each second in which every repetition has at least 20 of them. Shaded: the warm-up, which no metric counts."
    ),
    part="series",
    axes=AXES,
    metrics=(),
    draw=draw,
)
