"""Latency and throughput through bursts, a column a system."""

from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from crayfish.results import looks, plots
from crayfish.results.tables import ends
from crayfish.spec.contracts import FigureKind, LineStyle
from crayfish.spec.errors import CrayfishError

AXES = ("burst", "rate_events_per_s", "peak_rate_events_per_s")
METRICS = ("recovery_s",)
COLUMNS = 4
SHADE: dict[str, Any] = {"facecolor": "#f0f0f0", "edgecolor": "#c8c8c8", "hatch": "////", "linewidth": 0}
STRIKE: dict[str, Any] = {"color": "#888888", "linestyle": (0, (3, 2)), "linewidth": 0.9}
CURVES: dict[str, LineStyle] = {"latency_p50_ms": "-", "latency_p99_ms": (0, (2, 1))}
FOOT = 0.06  # the height of a recovery's mark in its panel


def draw(table: pl.DataFrame) -> Figure:
    if "burst" not in table.columns:
        raise CrayfishError("the table has no bursts: its experiment's load must be bursty or faulty")
    parts = [(system, rows) for system in looks.systems(table, AXES) for rows in system.segments(system.rows)]
    figure, panels = burst_canvas(len(parts))
    for (above, below), (system, rows) in zip(panels, parts, strict=True):
        draw_system(above, below, system, rows)
    metrics = [name for name in CURVES if table[name].null_count() < len(table)] or list(CURVES)[:1]
    plots.value_axis([above for above, _ in panels], table, metrics, looks.label("latency_ms"), log=True)
    for _, below in panels[-min(COLUMNS, len(parts)) :]:
        below.set_xlabel(looks.label("second"))
    plots.legend(figure, handles([rows for _, rows in parts]), table)
    return figure


def burst_canvas(count: int) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """A figure with two panels for each system, one above the other, at most four systems a row."""
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(plots.SINGLE if columns == 1 else plots.DOUBLE, 3.1 * rows))
    grid = figure.subplots(2 * rows, columns, sharex=True, squeeze=False)
    pairs = [(grid[2 * row][column], grid[2 * row + 1][column]) for row in range(rows) for column in range(columns)]
    for unused in pairs[count:]:
        for axes in unused:
            axes.set_visible(False)
    return figure, pairs[:count]


def bursts_of(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """The first row of each burst."""
    return list(rows.drop_nulls("burst").unique("burst", maintain_order=True).iter_rows(named=True))


def draw_system(above: Axes, below: Axes, system: looks.System, rows: pl.DataFrame) -> None:
    """The two panels of one system: latency above, events per second below."""
    for axes in (above, below):
        for burst in bursts_of(rows):
            if burst["burst_end_s"] > burst["burst_start_s"]:
                axes.axvspan(burst["burst_start_s"], burst["burst_end_s"], zorder=0, **SHADE)
            else:
                axes.axvline(burst["burst_start_s"], zorder=0, **STRIKE)
    for metric, style in CURVES.items():
        draw_curve(above, system, rows, metric, style)
    below.step(rows["second"], rows["due_events_per_s"], where="post", color="black", linewidth=0.7)
    draw_curve(below, system, rows, "appended_events_per_s", "-")
    mark_recoveries(above, rows)
    plots.entitle(above, system.label, loc="left")
    below.tick_params(labelbottom=True)
    below.set_xlim(rows["warmup_s"][0], rows["second"].max() + 0.5)
    below.set_ylim(bottom=0)
    below.yaxis.set_major_formatter(plots.spaced)
    if below.get_subplotspec().is_first_col():
        below.set_ylabel("events/s")
    else:
        above.tick_params(labelleft=False)
    if any(rows["warnings"]):
        above.plot([0.97], [0.93], transform=above.transAxes, clip_on=False, **plots.RING)


def draw_curve(axes: Axes, system: looks.System, rows: pl.DataFrame, metric: str, style: LineStyle) -> None:
    """A line with the band of its intervals."""
    mean, low, high = plots.bounds(rows, metric)
    axes.plot(rows["second"] + 0.5, mean, color=system.color, linestyle=style, linewidth=1)
    axes.fill_between(rows["second"] + 0.5, low, high, color=system.color, alpha=0.2, linewidth=0)


def mark_recoveries(axes: Axes, rows: pl.DataFrame) -> None:
    """When the system had recovered from each burst, at the panel's foot; a cross where it did not in every
    repetition."""
    transform = axes.get_xaxis_transform()
    for burst in bursts_of(rows):
        end, mean = burst["burst_end_s"], burst["recovery_s"]
        if burst["recovered_repetitions"] < burst["repetitions"]:
            axes.plot([end], [FOOT], "x", color="black", transform=transform, markersize=5)
            continue
        low, high = ends(burst, "recovery_s")
        marks: dict[str, Any] = {"marker": "^", "markersize": 4, "linestyle": "none", "elinewidth": 0.8, "capsize": 2}
        width = [[mean - max(0.0, low)], [high - mean]]
        axes.errorbar([end + mean], [FOOT], xerr=width, color="black", transform=transform, **marks)


def handles(parts: list[pl.DataFrame]) -> list[Line2D | Patch]:
    """The legend's entries: the lines in black, as each system's panels have its own colour."""
    bursty = any((rows["burst_end_s"] > rows["burst_start_s"]).any() for rows in parts)
    entries = [
        Line2D([], [], color="black", linewidth=1, label="median latency; predictions appended"),
        Line2D([], [], color="black", linewidth=1, linestyle=CURVES["latency_p99_ms"], label="99th percentile"),
        Line2D([], [], color="black", linewidth=0.7, drawstyle="steps-post", label="events due"),
        *([Patch(label="burst", **SHADE)] if bursty else []),
        *([Line2D([], [], label="fault", **STRIKE)] if not bursty else []),
        Line2D([], [], color="black", marker="^", markersize=4, linestyle="none", label="recovered"),
    ]
    if any((rows["recovered_repetitions"] < rows["repetitions"]).any() for rows in parts):
        entries.append(Line2D([], [], color="black", marker="x", linestyle="none", label="not recovered"))
    return entries


FIGURE_KIND = FigureKind(
    title="Through bursts and faults",
    text=(
        "Above: median and 99th percentile of the latency of the events due in each second. Below: events due, and"
        " predictions appended to the output topic, in each second. Shaded: bursts; dashed: a fault. Triangle, with its"
        " interval: start of the first five consecutive seconds whose median latency is at or below the 95th percentile"
        " of the 30 s before the burst or fault. Cross: not recovered in every repetition."
    ),
    part="series",
    axes=AXES,
    metrics=METRICS,
    draw=draw,
)
