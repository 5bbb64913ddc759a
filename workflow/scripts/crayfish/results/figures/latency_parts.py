"""The latency in its parts: what generator and broker, the processor, and broker and sink take."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter

from crayfish.results import looks, plots
from crayfish.results.tables import chosen_metric
from crayfish.spec.contracts import FigureKind

AXES = ("model", "parallelism", "points_per_event", "rate_events_per_s")
PARTS = {
    "generation": "generator and broker",
    "processing": "processor",
    "delivery": "broker and sink",
}
METRIC = "latency_processing_p50_ms"
LINEAR_MS = 1.0  # below the resolution of append times, a logarithm would show noise
TAIL = {"marker": "|", "markersize": 8, "markeredgewidth": 1.2}


def draw(table: pl.DataFrame) -> Figure:
    chosen_metric((METRIC,), table)
    table = table.drop_nulls(METRIC)
    panels = looks.panels(table, AXES)
    figure, grid = plots.row_canvas([len(looks.systems(rows, AXES)) for _, rows in panels], len(PARTS))
    top = max(table[f"latency_{part}_{end}_ms"].max() or 0.0 for part in PARTS for end in ("p50", "p99"))
    for line, (title, rows) in zip(grid, panels, strict=True):
        drawn = looks.systems(rows, AXES)
        for axes, part in zip(line, PARTS, strict=True):
            for place, system in enumerate(drawn):
                draw_part(axes, place, system, part)
            scale(axes, top)
        plots.label_rows(line[0], [system.label for system in drawn])
        plots.entitle(line[0], title, loc="left")
    for axes, name in zip(grid[-1], PARTS.values(), strict=True):
        axes.set_xlabel(f"{name} (ms)")
    tail = Line2D([], [], color="black", linestyle="-", linewidth=0.6, label="up to the 99th percentile", **TAIL)
    plots.legend(figure, [Line2D([], [], color="black", linestyle="none", marker="o", label="median"), tail], table)
    return figure


def draw_part(axes: Axes, place: int, system: looks.System, part: str) -> None:
    """A system's median with its interval, and a line from there to its 99th percentile."""
    row = system.rows.row(0, named=True)
    median, tail = row[f"latency_{part}_p50_ms"], row[f"latency_{part}_p99_ms"]
    if median is None:
        return
    if tail is not None:
        axes.plot([median, tail], [place, place], color=system.color, linewidth=0.6, zorder=1)
        axes.plot([tail], [place], color=system.color, linestyle="none", **TAIL)
    plots.draw_points(axes, system, [place], system.rows[:1], f"latency_{part}_p50_ms", joined=False, along="x")


def scale(axes: Axes, top: float) -> None:
    """Linear up to the resolution of append times, logarithmic from there, the same for all parts."""
    axes.set_xscale("symlog", linthresh=LINEAR_MS, linscale=0.5)
    axes.set_xlim(-0.6, max(top, 2 * LINEAR_MS) * 1.3)
    axes.xaxis.set_major_locator(FixedLocator([0, *(10.0**power for power in range(7) if 10.0**power <= 1.3 * top)]))
    axes.xaxis.set_major_formatter(FuncFormatter(plots.spaced))


FIGURE_KIND = FigureKind(
    title="Latency in parts",
    text=(
        "Latency in its three parts, whose sum it is event by event: from an event's intended send time until it was in"
        " the input topic (the load generator and the broker), from there until its prediction was in the output topic"
        " (the system under test), and from there until the sink received it (the broker and the sink). Points are"
        " medians, ticks 99th percentiles. Append times are known to 0.5 ms, so that values below 1 ms, where"
        " the axes are linear, are uncertain by as much and may lie below 0."
    ),
    part="means",
    axes=AXES,
    metrics=(METRIC,),
    draw=draw,
)
