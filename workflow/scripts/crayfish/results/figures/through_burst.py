"""Latency and throughput through bursts, a column a system."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from crayfish.results import looks, plots
from crayfish.spec.contracts import FigureKind
from crayfish.spec.errors import CrayfishError

AXES = ("burst", "rate_events_per_s", "peak_rate_events_per_s")
METRICS = ("recovery_s",)
COLUMNS = 4
SHADE = {"facecolor": "#f0f0f0", "edgecolor": "#c8c8c8", "hatch": "////", "linewidth": 0}


def draw(table: pl.DataFrame) -> Figure:
    if "burst" not in table.columns:
        raise CrayfishError("the table has no bursts: its experiment's load must be bursty")
    parts = [
        (system, rows)
        for system in looks.systems(table, AXES)
        for _, rows in system.rows.group_by("run", "segment", maintain_order=True)
    ]
    columns = min(COLUMNS, len(parts))
    lines = -(-len(parts) // columns)
    figure = Figure(figsize=(plots.SINGLE if columns == 1 else plots.DOUBLE, 3.1 * lines))
    grid = figure.subplots(2 * lines, columns, sharex=True, squeeze=False)
    for column in range(lines * columns):
        above, below = (grid[2 * (column // columns) + half][column % columns] for half in (0, 1))
        if column >= len(parts):
            above.set_visible(False)
            below.set_visible(False)
            continue
        draw_system(above, below, *parts[column])
    shown = [grid[2 * (index // columns)][index % columns] for index in range(len(parts))]
    latency_axes(shown, table)
    for index in range(max(0, len(parts) - columns), len(parts)):
        grid[2 * (index // columns) + 1][index % columns].set_xlabel("time (s)")
    plots.legend(figure, handles(parts), table)
    return figure


def latency_axes(axes: list[Axes], table: pl.DataFrame) -> None:
    """One logarithmic scale of latency for all systems."""
    metrics = [name for name in ("latency_p50_ms", "latency_p99_ms") if table[name].null_count() < len(table)]
    plots.value_axis(axes, table, metrics or ["latency_p50_ms"], "latency (ms)", log=True)


def draw_system(above: Axes, below: Axes, system: looks.System, rows: pl.DataFrame) -> None:
    """The two panels of one system."""
    for axes in (above, below):
        for burst in rows.drop_nulls("burst").unique("burst", maintain_order=True).iter_rows(named=True):
            axes.axvspan(burst["burst_start_s"], burst["burst_end_s"], zorder=0, **SHADE)
    at = rows["second"] + 0.5
    for metric, style in (("latency_p50_ms", "-"), ("latency_p99_ms", (0, (2, 1)))):
        curve(above, system, rows, metric, style)
    below.step(rows["second"], rows["due_events_per_s"], where="post", color="black", linewidth=0.7)
    curve(below, system, rows, "appended_events_per_s", "-")
    mark_recoveries(above, rows)
    plots.entitle(above, system.label, loc="left")
    below.tick_params(labelbottom=True)
    below.set_xlim(rows["warmup_s"][0], at.max())
    below.set_ylim(bottom=0)
    below.yaxis.set_major_formatter(plots.spaced)
    if below.get_subplotspec().is_first_col():
        below.set_ylabel("events/s")
    else:
        above.tick_params(labelleft=False)
    if any(rows["warnings"]):
        above.plot([0.97], [0.93], transform=above.transAxes, clip_on=False, **plots.RING)


def curve(axes: Axes, system: looks.System, rows: pl.DataFrame, metric: str, style: object) -> None:
    """A line with its band."""
    mean, low, high = plots.bounds(rows, metric)
    axes.plot(rows["second"] + 0.5, mean, color=system.color, linestyle=style, linewidth=1)
    axes.fill_between(rows["second"] + 0.5, low, high, color=system.color, alpha=0.2, linewidth=0)


def mark_recoveries(axes: Axes, rows: pl.DataFrame) -> None:
    """When the system had recovered from each burst, at the panel's foot."""
    transform = axes.get_xaxis_transform()
    for burst in rows.drop_nulls("burst").unique("burst", maintain_order=True).iter_rows(named=True):
        if burst["recovered_repetitions"] < burst["repetitions"]:
            axes.plot([burst["burst_end_s"]], [0.06], "x", color="black", transform=transform, markersize=5)
            continue
        mean, end = burst["recovery_s"], burst["burst_end_s"]
        low, high = (mean if burst[name] is None else burst[name] for name in ("recovery_s_low", "recovery_s_high"))
        axes.errorbar(
            [end + mean],
            [0.06],
            xerr=[[mean - max(0.0, low)], [high - mean]],
            marker="^",
            color="black",
            transform=transform,
            **{"linestyle": "none", "elinewidth": 0.8, "capsize": 2, "markersize": 4},
        )


def handles(parts: list[tuple]) -> list:
    """What the legend tells: the lines in black, as each column has its system's colour."""
    entries = [
        Line2D([], [], color="black", linewidth=1, label="median latency; predictions appended"),
        Line2D([], [], color="black", linewidth=1, linestyle=(0, (2, 1)), label="99th percentile"),
        Line2D([], [], color="black", linewidth=0.7, drawstyle="steps-post", label="events due"),
        Patch(label="burst", **SHADE),
        Line2D([], [], color="black", marker="^", markersize=4, linestyle="none", label="recovered"),
    ]
    if any((rows["recovered_repetitions"] < rows["repetitions"]).any() for _, rows in parts):
        entries.append(Line2D([], [], color="black", marker="x", linestyle="none", label="not recovered"))
    return entries


FIGURE_KIND = FigureKind(
    title="Through bursts",
    text=(
        "Above: median and 99th percentile of the latency of the events due in each second. Below: events due, and"
        " predictions appended to the output topic, in each second. Bursts are shaded. The triangle marks, with its"
        " interval, when a system has recovered: five consecutive seconds have medians of at most the 95th"
        " percentile of"
        " the 30 s before the burst; a cross: it did not in every repetition."
    ),
    part="series",
    axes=AXES,
    metrics=METRICS,
    draw=draw,
)
