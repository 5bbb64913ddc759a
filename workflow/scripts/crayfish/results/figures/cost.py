"""The CPU time of a thousand predictions, by stage."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from crayfish.results import looks, plots
from crayfish.results.tables import chosen_metric, ends
from crayfish.spec.contracts import FigureKind

AXES = ("model", "points_per_event", "rate_events_per_s")
METRIC = "cpu_us_per_event"
# Greys and hatches: colours are the systems'.
STAGES = {"processor": ("#6e6e6e", ""), "server": ("#c9c9c9", "////"), "broker": ("white", "....")}
THOUSAND = 1e-3  # us an event -> s a thousand events


def draw(table: pl.DataFrame) -> Figure:
    chosen_metric((METRIC,), table)
    table = table.drop_nulls(METRIC)
    costs = [name for name in table.columns if name.startswith("cpu_")]
    table = table.with_columns(pl.col(costs).cast(pl.Float64) * THOUSAND)
    parts = looks.panels(table, AXES)
    figure, grid = plots.row_canvas([len(rows) for _, rows in parts])
    twins: list = []
    for (axes,), (title, rows) in zip(grid, parts, strict=True):
        drawn = looks.systems(rows, AXES)
        for place, system in enumerate(drawn):
            draw_row(axes, place, system.rows.row(0, named=True))
        for first, second in looks.twins(drawn):
            ends = [(drawn[place].rows[METRIC][0], place) for place in (first, second)]
            plots.draw_twins(axes, ends[:1], ends[1:])
            twins = plots.twin_handles(drawn)
        plots.label_rows(axes, [system.label for system in drawn])
        plots.entitle(axes, title, loc="left")
    panels = [axes for (axes,) in grid]
    plots.value_axis(panels, table, [METRIC], "CPU time per thousand predictions (s)", log=False, along="x")
    stages = [name for name in STAGES if f"cpu_{name}_us_per_event" in table.columns]
    plots.legend(figure, [*(swatch(name) for name in stages), *twins], table)
    return figure


def swatch(stage: str) -> Patch:
    face, hatch = STAGES[stage]
    return Patch(facecolor=face, hatch=hatch, edgecolor="black", linewidth=0.5, label=stage)


def draw_row(axes: Axes, place: int, row: dict) -> None:
    """One system's stages after each other, and the interval of their sum."""
    widths = {stage: row.get(f"cpu_{stage}_us_per_event") or 0.0 for stage in STAGES}
    # Geometric means do not add up: the stages share the sum's in their proportions.
    scale, left = row[METRIC] / (sum(widths.values()) or 1.0), 0.0
    for stage, (face, hatch) in STAGES.items():
        width = widths[stage] * scale
        axes.barh(place, width, 0.62, left, color=face, hatch=hatch, edgecolor="black", linewidth=0.5)
        left += width
    plots.draw_interval(axes, row, METRIC, place, color="black", elinewidth=0.9, capsize=2.5)
    plots.beside(axes, place, plots.with_interval(row[METRIC], *ends(row, METRIC)))


FIGURE_KIND = FigureKind(
    title="Cost",
    text=(
        "User and system CPU time per thousand predictions (one per event) of what is under test, by stage; beside each"
        " bar the sum and its interval. The load generator's producer and consumer are left out."
    ),
    part="means",
    axes=AXES,
    metrics=(METRIC,),
    draw=draw,
)
