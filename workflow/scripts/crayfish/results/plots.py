"""What the figures share: one style, the looks of the systems, panels, points, lines and axes, captions, files.

The kinds of figures lie in figures/, one file each. A system looks the same in every figure: its processor gives colour
and line (so that black and white suffices), its scorer the marker and its filling; a variant of it (another execution,
scoring, ...) has an open or half filled marker. Points and lines are means over repetitions, bars and bands their 95 %
intervals; a ring marks what runs with a warning measured; substitutes and synthetic data are named in the figure
itself. The caption says what was held fixed, the repetitions, the machine, what is not told apart, and warnings.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from crayfish.results.looks import SIZE, System, inside, panels, systems
from crayfish.spec.errors import CrayfishError

matplotlib.use("agg")

STYLE = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 7.5,
    "legend.title_fontsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": SIZE,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "crayfish",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}
NO_DATES = {
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".png": {"Software": None},
}
SINGLE, DOUBLE, HEIGHT = 3.5, 7.1, 2.4  # inches: one and two columns of a paper
ROW = 0.21  # inches of height that a row of a horizontal chart takes
LETTERS = 16.5  # of the legend, an inch
BESIDE = 5  # entries above which the legend stands beside a single panel
LOG_FROM = 20.0  # the ratio of the largest to the smallest mean from which an axis is logarithmic


RING = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 10,
    "fillstyle": "none",
    "markeredgewidth": 0.6,
    "color": "black",
    "zorder": 5,
}


def chosen_metric(metrics: tuple[str, ...], table: pl.DataFrame) -> str | None:
    """The first of some metrics that every row has; else the first that any has; None if there are none to choose."""
    full = [name for name in metrics if name in table.columns and not table[name].null_count()]
    some = [name for name in metrics if name in table.columns and table[name].null_count() < len(table)]
    if metrics and not some:
        raise CrayfishError(
            f"the table has no value of {', '.join(metrics)}; summarise runs of this kind of load first"
        )
    return [*full, *some, None][0]


# --- drawing ----------------------------------------------------------------------------------------------------------


def bounds(rows: pl.DataFrame, metric: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means (nan where there is none) and their intervals' ends, of no width where there is no interval."""
    mean = rows[metric].cast(pl.Float64)
    ends = (rows[f"{metric}_{end}"].cast(pl.Float64).fill_null(mean).to_numpy() for end in ("low", "high"))
    return mean.to_numpy(), *ends


def draw_points(
    axes: Axes,
    system: System,
    places: list[float],
    rows: pl.DataFrame,
    metric: str,
    joined: bool = True,
    along: str = "y",
) -> None:
    """Means with their intervals along an axis, a ring around each that carries a warning; what lacks is left out."""
    there = [index for index, value in enumerate(rows[metric]) if value is not None]
    places, rows = [places[index] for index in there], rows[there]
    mean, low, high = bounds(rows, metric)
    looks = {"elinewidth": 0.8, "capsize": 2, "capthick": 0.8, f"{along}err": [mean - low, high - mean]}
    axes.errorbar(*((places, mean) if along == "y" else (mean, places)), **looks, **system.looks(joined))
    warned = [index for index, text in enumerate(rows["warnings"]) if text]
    at, means = [places[index] for index in warned], mean[warned]
    axes.plot(*((at, means) if along == "y" else (means, at)), **RING)


def draw_line(
    axes: Axes,
    system: System,
    places: np.ndarray,
    rows: pl.DataFrame,
    metric: str,
    along: str = "y",
    marked: list[int] | None = None,
) -> None:
    """A line through many means, with gaps where there is none, and the band of their intervals; its end in a ring if
    it carries a warning. marked: which of its points have the marker; about six if not told."""
    mean, low, high = bounds(rows, metric)
    every = max(1, len(rows) // 6)
    looks = {**system.looks(), "markevery": (every // 2, every) if marked is None else marked}
    axes.plot(*((places, mean) if along == "y" else (mean, places)), **looks)
    fill = axes.fill_between if along == "y" else axes.fill_betweenx
    fill(places, low, high, color=system.color, alpha=0.18, linewidth=0)
    there = np.flatnonzero(~np.isnan(mean))
    if len(there) and rows["warnings"][0]:
        at, end = [places[there[-1]]], [mean[there[-1]]]
        axes.plot(*((at, end) if along == "y" else (end, at)), **RING, clip_on=False)


def dodge(index: int, count: int, width: float) -> float:
    """Where the index-th of count systems stands beside the common place, so that intervals do not cover each other."""
    return (index - (count - 1) / 2) * width / max(1, count - 1)


def spaced(value: float, _: object = None) -> str:
    """A number with its thousands apart."""
    return f"{value:,.12g}".replace(",", "\u202f")


def rounded(value: float) -> str:
    """A number of three digits."""
    return f"{value:#.3g}" if abs(value) < 99.95 else spaced(float(f"{value:.3g}"))


def with_interval(mean: float, low: float, high: float) -> str:
    """A mean and, if it has a width, its interval, three digits each."""
    return rounded(mean) + (f"  [{rounded(low)}, {rounded(high)}]" if low < high else "")


def value_axis(
    axes: list[Axes], table: pl.DataFrame, metrics: list[str], label: str, log: bool | None = None, along: str = "y"
) -> None:
    """One scale for all panels: from 0, or logarithmic where the means differ by a factor of 20 and more."""
    means = [value for metric in metrics for value in table[metric].drop_nulls() if value > 0]
    if not means:
        raise CrayfishError(
            f"the table has no value of {', '.join(metrics)}; summarise runs of this kind of load first"
        )
    ends = [value for metric in metrics for end in ("low", "high") for value in table[f"{metric}_{end}"].drop_nulls()]
    for one in axes:
        axis = one.yaxis if along == "y" else one.xaxis
        if along == "y" and one.get_subplotspec().is_first_col():
            one.set_ylabel(label)
        limits = one.set_ylim if along == "y" else one.set_xlim
        if log or (log is None and max(means) >= LOG_FROM * min(means)):
            # An interval of few repetitions can reach to 0 and below, which a logarithmic axis cannot show: it is cut
            # there.
            floor = max(min(means) / 4, min([end for end in ends if end > 0] + means) / 1.3)
            (one.set_yscale if along == "y" else one.set_xscale)("log")
            limits(floor, max(ends + means) * 1.3)
            several = max(ends + means) / floor < 300
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if several else (1,)))
            axis.set_minor_locator(LogLocator(subs=range(1, 10)))
            axis.set_minor_formatter(NullFormatter())
        else:
            limits(0, max(ends + means) * 1.05)
        axis.set_major_formatter(FuncFormatter(spaced))
    if along == "x":
        label_x(axes, label)


def notes(table: pl.DataFrame) -> list[str]:
    """What is not what it may seem: substitutes and synthetic data."""
    named = [part for text in table["substitutes"].unique(maintain_order=True) for part in text.split("; ") if part]
    synthetic = ["synthetic data"] if "synthetic" in table["dataset"].to_list() else []
    return list(dict.fromkeys(named + synthetic))


def system_handles(drawn: list[System]) -> list[Line2D]:
    """The legend's entries of systems."""
    return [Line2D([], [], label=system.label, **system.looks()) for system in drawn]


def legend(figure: Figure, handles: list[Line2D | Patch], table: pl.DataFrame) -> None:
    """The entries, the ring's meaning, and the notes: above the panels, or beside a single one if there are many."""
    told = tuple(f"{scorer} (" for scorer in table["scorer"].unique())  # by the names of the systems
    title = "; ".join(note for note in notes(table) if not note.startswith(told))
    rings = [Line2D([], [], label="a warning, see caption", **RING)] if any(table["warnings"]) else []
    handles = [*handles, *rings]
    looks = {"frameon": False, "title": title or None, "alignment": "left", "handlelength": 3, "columnspacing": 1.5}
    if not handles:
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=STYLE["legend.title_fontsize"])
        return
    widest = max(len(handle.get_label()) for handle in handles)
    if len(handles) > BESIDE and figure.get_figwidth() == SINGLE:
        figure.set_figwidth(SINGLE + 0.7 + widest / LETTERS)
        figure.set_figheight(max(figure.get_figheight(), 0.35 + 0.17 * len(handles)))
        figure.legend(handles=handles, loc="outside right upper", **looks)
        return
    columns = max(1, min(len(handles), int(figure.get_figwidth() * LETTERS / (widest + 7))))
    lines = -(-len(handles) // columns) + bool(title)
    figure.set_figheight(figure.get_figheight() + 0.17 * lines)
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, **looks)


def canvas(parts: list[tuple[str, pl.DataFrame]], last: str) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each of the parts, on common axes: a row for all values of the column `last` by which
    they are apart, or four a row."""
    count, each = len(parts), pl.concat(rows.select(last) for _, rows in parts)[last].n_unique()
    columns = each if 1 < each <= 4 and count % each == 0 else min(count, 4)
    rows = -(-count // columns)
    wide = SINGLE if count == 1 else min(DOUBLE, 1.1 + 2.0 * columns)
    figure = Figure(figsize=(wide, HEIGHT * rows))
    grid = figure.subplots(rows, columns, sharey=True, sharex=True, squeeze=False)
    flat = list(grid.flat)
    for unused in flat[count:]:
        unused.set_visible(False)
    for one in lowest(flat[:count]):
        one.tick_params(labelbottom=True)
    return figure, flat[:count]


def lowest(axes: list[Axes]) -> list[Axes]:
    """The panels below which there is none."""
    return axes[-axes[0].get_gridspec().ncols :]


def label_x(axes: list[Axes], text: str) -> None:
    """One name of the horizontal axis below each column of panels."""
    for one in lowest(axes):
        one.set_xlabel(text)


def entitle(axes: Axes, text: str, **how: object) -> None:
    """A panel's title, in as many lines as its width asks for, broken at commas where that suffices."""
    width, lines = {1: 60, 2: 40, 3: 30}.get(axes.get_gridspec().ncols, 24), [""]
    for part in re.split(r"(?<=,) ", text):
        fits = len(lines[-1]) + len(part) < width
        lines = [*lines[:-1], f"{lines[-1]} {part}".strip()] if fits else [*lines, part]
    folded = [textwrap.fill(line, width, break_on_hyphens=False) for line in lines if line]
    axes.set_title("\n".join(folded), **how)


def row_canvas(counts: list[int], columns: int = 1) -> tuple[Figure, list[list[Axes]]]:
    """A figure for horizontal charts below each other, of so many rows each, and columns of them beside each other."""
    high = sum(ROW * count + 0.55 for count in counts)
    figure = Figure(figsize=(DOUBLE, high))
    grid = figure.subplots(len(counts), columns, squeeze=False, sharey="row", height_ratios=[n + 2 for n in counts])
    for one in grid.flat:
        one.grid(axis="x")
        one.grid(axis="y", visible=False)
        one.tick_params(axis="y", length=0)
        one.spines["left"].set_visible(False)
    return figure, [list(row) for row in grid]


def label_rows(axes: Axes, labels: list[str]) -> None:
    """Names of the rows of a horizontal chart, the first at the top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)


def beside(axes: Axes, row: float, text: str) -> None:
    """A text to the right of a row of a horizontal chart."""
    axes.text(1.015, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=7)


# --- figures of several kinds -----------------------------------------------------------------------------------------


def by_column(table: pl.DataFrame, column: str, apart: tuple[str, ...], metric: str, labels: tuple[str, str]) -> Figure:
    """A metric by a column whose values double: a line a system, panels by the columns `apart`, labels of x and y."""
    parts = panels(table, apart)
    figure, axes = canvas(parts, apart[-1])
    everyone = systems(table, (column, *apart))
    steps = sorted(table[column].unique())
    places = np.log2(steps)
    # As wide as the systems' markers need beside each other, so that places stay further apart than their systems.
    marker = 0.022 * (np.ptp(places) + 1)
    width = max(0.12, min(marker * (len(everyone) - 1), 0.45 * min(np.diff(places), default=0)))
    edge = max(0.4, 0.75 * width)
    for one, (title, rows) in zip(axes, parts, strict=True):
        for index, system in enumerate(everyone):
            own = inside(system, rows).sort(column)
            shift = 2 ** dodge(index, len(everyone), width)
            draw_points(one, system, [value * shift for value in own[column]], own, metric)
        entitle(one, title)
        one.set_xscale("log", base=2)
        one.set_xticks(steps, [str(step) for step in steps])
        one.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        one.set_xlim(2 ** (places[0] - edge), 2 ** (places[-1] + edge))
    label_x(axes, labels[0])
    value_axis(axes, table, [metric], labels[1])
    legend(figure, system_handles(everyone), table)
    return figure


def ranked_rows(table: pl.DataFrame, metric: str, label: str, apart: tuple[str, ...]) -> Figure:
    """One row a system, the highest mean first, with its value beside it; below each other by the columns `apart`."""
    parts = panels(table.drop_nulls(metric), apart)
    figure, grid = row_canvas([len(systems(rows, apart)) for _, rows in parts])
    for (axes,), (title, rows) in zip(grid, parts, strict=True):
        found = sorted(systems(rows, apart), key=lambda system: -system.rows[metric].max())
        for place, system in enumerate(found):
            best = system.rows.sort(metric, descending=True)[:1]
            axes.axhline(place, color="#bbbbbb", linewidth=0.5, linestyle=":", zorder=0)
            draw_points(axes, system, [place], best, metric, joined=False, along="x")
            beside(axes, place, with_interval(*(float(end[0]) for end in bounds(best, metric))))
        label_rows(axes, [system.label for system in found])
        entitle(axes, title, loc="left")
        value_axis([axes], rows, [metric], label, along="x")
    legend(figure, [], table)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as its name says (.svg, .pdf, .png): equal figures give equal bytes."""
    if path.suffix not in NO_DATES:
        raise CrayfishError(f"--out {path}: no figure format {path.suffix!r}; allowed: {', '.join(NO_DATES)}")
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, metadata=NO_DATES[path.suffix])
