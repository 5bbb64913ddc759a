"""What a thousand predictions cost in CPU, by stage."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from crayfish.results import looks, plots
from crayfish.spec.contracts import FigureKind

AXES = ("model", "points_per_event", "rate_events_per_s")
METRICS = ("cpu_us_per_event",)
# Greys and hatches: colours are the systems'.
STAGES = {"processor": ("#6e6e6e", ""), "server": ("#c9c9c9", "////"), "broker": ("white", "....")}
THOUSAND = 1e-3  # us an event -> s a thousand events


def draw(table: pl.DataFrame) -> Figure:
    plots.chosen_metric(METRICS, table)
    table = table.drop_nulls(METRICS[0])
    costs = [name for name in table.columns if name.startswith("cpu_")]
    table = table.with_columns(pl.col(costs).cast(pl.Float64) * THOUSAND)
    parts = looks.panels(table, AXES)
    figure, grid = plots.row_canvas([len(rows) for _, rows in parts])
    for (axes,), (title, rows) in zip(grid, parts, strict=True):
        everyone = looks.systems(rows, AXES)
        for place, system in enumerate(everyone):
            draw_row(axes, place, system.rows.row(0, named=True))
        plots.label_rows(axes, [system.label for system in everyone])
        plots.entitle(axes, title, loc="left")
    plots.value_axis(
        [axes for (axes,) in grid], table, list(METRICS), "CPU seconds a thousand predictions", False, along="x"
    )
    stages = [name for name in STAGES if f"cpu_{name}_us_per_event" in table.columns]
    plots.legend(figure, [swatch(name) for name in stages], table)
    return figure


def swatch(stage: str) -> Patch:
    face, hatch = STAGES[stage]
    return Patch(facecolor=face, hatch=hatch, edgecolor="black", linewidth=0.5, label=stage)


def draw_row(axes: Axes, place: int, row: dict) -> None:
    """One system's stages after each other, and the interval of their sum."""
    left = 0.0
    for stage, (face, hatch) in STAGES.items():
        width = row.get(f"cpu_{stage}_us_per_event") or 0.0
        axes.barh(place, width, 0.62, left, color=face, hatch=hatch, edgecolor="black", linewidth=0.5)
        left += width
    total = row["cpu_us_per_event"]
    low, high = (
        total if row[f"cpu_us_per_event_{end}"] is None else row[f"cpu_us_per_event_{end}"] for end in ("low", "high")
    )
    axes.errorbar(total, place, xerr=[[total - low], [high - total]], color="black", elinewidth=0.9, capsize=2.5)
    if row["warnings"]:
        axes.plot([total], [place], **plots.RING)
    plots.beside(axes, place, plots.with_interval(total, low, high))


FIGURE_KIND = FigureKind(
    title="Cost",
    text=(
        "User and system CPU seconds of what is under test a thousand predictions, one prediction an event, split by"
        " stage; beside it the sum and its interval. Producer and consumer, which measure, are left out."
    ),
    part="means",
    axes=AXES,
    metrics=METRICS,
    draw=draw,
)
