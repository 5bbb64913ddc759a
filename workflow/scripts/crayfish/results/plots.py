"""What the kinds of figures share: one style, canvases, points, lines, axes, the legend, files.

The kinds lie in figures/, one file each. Points and lines are means over repetitions, bars and bands their 95 %
confidence intervals; a ring marks what runs with a warning measured; substitutes and synthetic data are named in the
figure itself. What a figure cannot show the caption says (captions.py).
"""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from crayfish.results.looks import SIZE, System, label, panels, systems, twins
from crayfish.results.ranking import Ranking, Ranks
from crayfish.results.tables import chosen_metric, ends, notes
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
ROW_LETTERS = 60  # of a line of a row's name
LETTERS = 16.5  # of the legend, an inch
BESIDE = 5  # entries above which the legend stands beside a single panel
LOG_FROM = 20.0  # the ratio of the largest to the smallest mean from which an axis is logarithmic

RING: dict[str, Any] = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 10,
    "fillstyle": "none",
    "markeredgewidth": 0.6,
    "color": "black",
    "zorder": 5,
}
TWINS: dict[str, Any] = {"color": "#c9c9c9", "linewidth": 9, "solid_capstyle": "round", "zorder": 0.5}


# --- marks ------------------------------------------------------------------------------------------------------------


def bounds(rows: pl.DataFrame, metric: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means (nan where there is none) and their intervals' ends, of no width where there is no interval."""
    mean = rows[metric].cast(pl.Float64)
    low, high = (rows[f"{metric}_{end}"].cast(pl.Float64).fill_null(mean).to_numpy() for end in ("low", "high"))
    return mean.to_numpy(), low, high


def draw_points(
    axes: Axes,
    system: System,
    places: Sequence[float],
    rows: pl.DataFrame,
    metric: str,
    joined: bool = True,
    along: str = "y",
) -> None:
    """Means with their intervals along an axis, and a ring around each that carries a warning; nulls are left out."""
    present = [index for index, value in enumerate(rows[metric]) if value is not None]
    places, rows = [places[index] for index in present], rows[present]
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
    """A line through many means, with gaps where there is none, and the band of their intervals; a ring at its end if
    the rows carry a warning.

    marked: the indices of the points that have a marker; about six if it is None.
    """
    mean, low, high = bounds(rows, metric)
    every = max(1, len(rows) // 6)
    looks = {**system.looks(), "markevery": (every // 2, every) if marked is None else marked}
    axes.plot(*((places, mean) if along == "y" else (mean, places)), **looks)
    fill = axes.fill_between if along == "y" else axes.fill_betweenx
    fill(places, low, high, color=system.color, alpha=0.18, linewidth=0)
    present = np.flatnonzero(~np.isnan(mean))
    if len(present) and rows["warnings"][0]:
        at, end = [places[present[-1]]], [mean[present[-1]]]
        axes.plot(*((at, end) if along == "y" else (end, at)), **RING, clip_on=False)


def draw_interval(axes: Axes, row: dict[str, Any], metric: str, place: float, **looks: Any) -> None:
    """One mean with its horizontal interval at a height, and a ring if the row carries a warning."""
    mean, (low, high) = row[metric], ends(row, metric)
    axes.errorbar(mean, place, xerr=[[mean - low], [high - mean]], **looks)
    if row["warnings"]:
        axes.plot([mean], [place], **RING)


def draw_twins(axes: Axes, first: Sequence[tuple], second: Sequence[tuple]) -> None:
    """Join the points (x, y) of a system to those of its twin, which differ by noise alone."""
    for (x, y), (other_x, other_y) in zip(first, second, strict=True):
        axes.plot([x, other_x], [y, other_y], **TWINS)


def draw_twin_band(
    axes: Axes, first: pl.DataFrame, second: pl.DataFrame, place: str, metric: str, along: str = "y"
) -> None:
    """The same of lines: what lies between that of a system and that of its twin. place: the column of the places."""
    both = first.join(second, on=place, suffix="_twin").drop_nulls([metric, f"{metric}_twin"]).sort(place)
    fill = axes.fill_between if along == "y" else axes.fill_betweenx
    fill(both[place], both[metric], both[f"{metric}_twin"], color=TWINS["color"], linewidth=0, zorder=TWINS["zorder"])


def twin_handles(drawn: list[System]) -> list[Line2D]:
    """The legend's entry of what joins twins; none if none are drawn."""
    return [Line2D([], [], label="A/A: the same system twice", **TWINS)] if twins(drawn) else []


def dodge(index: int, count: int, width: float) -> float:
    """The offset of one of `count` systems from their common place, so that intervals do not cover each other."""
    return (index - (count - 1) / 2) * width / max(1, count - 1)


# --- numbers and axes -------------------------------------------------------------------------------------------------


def spaced(value: float, _: object = None) -> str:
    """A number with a thin space between its thousands."""
    return f"{value:,.12g}".replace(",", "\u202f")


def rounded(value: float) -> str:
    """A number of three digits."""
    return f"{value:#.3g}" if abs(value) < 99.95 else spaced(float(f"{value:.3g}"))


def with_interval(mean: float, low: float, high: float) -> str:
    """A mean and, if it has a width, its interval, three digits each."""
    return rounded(mean) + (f"  [{rounded(low)}, {rounded(high)}]" if low < high else "")


def value_axis(
    axes: list[Axes],
    table: pl.DataFrame,
    metrics: list[str],
    text: str | None = None,
    log: bool | None = None,
    along: str = "y",
) -> None:
    """One scale of some metrics for all panels, from 0 or logarithmic, named as the first metric unless told.

    It holds all means and, as far as it can, the ends of their intervals: those of two repetitions can be so wide that
    nothing else would be seen, and are cut by the edge. log: None chooses a logarithmic scale where the means differ by
    a factor of 20 and more. Raises CrayfishError where no mean is positive.
    """
    means = [value for metric in metrics for value in table[metric].drop_nulls() if value > 0]
    if not means:
        chosen_metric(tuple(metrics), table)
        raise CrayfishError(f"no value of {', '.join(metrics)} in the table is more than 0: there is nothing to draw")
    intervals = [
        value for metric in metrics for end in ("low", "high") for value in table[f"{metric}_{end}"].drop_nulls()
    ]
    logarithmic = log or (log is None and max(means) >= LOG_FROM * min(means))
    for one in axes:
        if logarithmic:
            scale_log(one, means, intervals, along)
        else:
            (one.set_ylim if along == "y" else one.set_xlim)(0, min(max(intervals + means) * 1.05, max(means) * 2))
        (one.yaxis if along == "y" else one.xaxis).set_major_formatter(FuncFormatter(spaced))
        if along == "y" and one.get_subplotspec().is_first_col():
            one.set_ylabel(text or label(metrics[0]))
    if along == "x":
        label_x(axes, text or label(metrics[0]))


def scale_log(axes: Axes, means: list[float], intervals: list[float], along: str) -> None:
    """A logarithmic axis that holds all means and, as far as it can, the ends of their intervals: see value_axis."""
    floor = max(min(means) / 4, min([end for end in intervals if end > 0] + means) / 1.3)
    top = min(max(means) * 4, max(intervals + means) * 1.3)
    axis = axes.yaxis if along == "y" else axes.xaxis
    (axes.set_yscale if along == "y" else axes.set_xscale)("log")
    (axes.set_ylim if along == "y" else axes.set_xlim)(floor, top)
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if top / floor < 300 else (1,)))
    axis.set_minor_locator(LogLocator(subs=range(1, 10)))
    axis.set_minor_formatter(NullFormatter())


# --- legend -----------------------------------------------------------------------------------------------------------


def system_handles(drawn: list[System]) -> list[Line2D]:
    """The legend's entries of systems, and of what joins twins."""
    return [*(Line2D([], [], label=system.label, **system.looks()) for system in drawn), *twin_handles(drawn)]


def legend(figure: Figure, handles: list[Line2D | Patch], table: pl.DataFrame) -> None:
    """The entries, the ring's meaning, and the notes: above the panels, or beside a single one if there are many."""
    in_names = tuple(f"{scorer} (" for scorer in table["scorer"].unique())  # substitutes that the systems' names tell
    title = "; ".join(note for note in notes(table) if not note.startswith(in_names))
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


# --- canvases ---------------------------------------------------------------------------------------------------------


def canvas(parts: list[tuple[str, pl.DataFrame]], last: str) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each part, on common axes: a row for all values of the column `last`, or four a row."""
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
    """The last panel of each column."""
    return axes[-axes[0].get_gridspec().ncols :]


def label_x(axes: list[Axes], text: str) -> None:
    """One name of the horizontal axis below each column of panels."""
    for one in lowest(axes):
        one.set_xlabel(text)


def entitle(axes: Axes, text: str, **options: Any) -> None:
    """A panel's title, in as many lines as its width asks for, broken at commas where that suffices."""
    width, lines = {1: 60, 2: 40, 3: 30}.get(axes.get_gridspec().ncols, 22), [""]
    for part in re.split(r"(?<=,) ", text):
        fits = len(lines[-1]) + len(part) < width
        lines = [*lines[:-1], f"{lines[-1]} {part}".strip()] if fits else [*lines, part]
    folded = [textwrap.fill(line, width, break_on_hyphens=False) for line in lines if line]
    axes.set_title("\n".join(folded), **options)


def row_canvas(counts: list[int], columns: int = 1) -> tuple[Figure, list[list[Axes]]]:
    """A figure for horizontal charts: one below the other, with `counts` rows, and so many columns of them."""
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
    """Names of the rows of a horizontal chart, the first at the top; long ones in smaller lines."""
    wrapped = [textwrap.fill(label, ROW_LETTERS) for label in labels]
    looks = {"fontsize": 6, "linespacing": 0.9} if wrapped != labels else {}
    axes.set_yticks(range(len(labels)), wrapped, **looks)
    axes.set_ylim(len(labels) - 0.4, -0.6)


def beside(axes: Axes, row: float, text: str, **looks: Any) -> None:
    """A text to the right of a row of a horizontal chart."""
    looks = {"fontsize": 7, "va": "center", **looks}
    axes.text(1.015, row, text, transform=axes.get_yaxis_transform(), **looks)


# --- figures of several kinds -----------------------------------------------------------------------------------------


def by_column(table: pl.DataFrame, column: str, panel_columns: tuple[str, ...], metric: str) -> Figure:
    """A metric by a column whose values double: a line a system, a panel for each value of the panel columns."""
    parts = panels(table, panel_columns)
    figure, axes = canvas(parts, panel_columns[-1])
    drawn = systems(table, (column, *panel_columns))
    steps = sorted(table[column].unique())
    places = np.log2(steps)
    # As wide as the systems' markers need beside each other, so that places stay further apart than their systems.
    marker = 0.022 * (np.ptp(places) + 1)
    width = max(0.12, min(marker * (len(drawn) - 1), 0.45 * min(np.diff(places), default=0)))
    edge = max(0.4, 0.75 * width)
    for one, (title, rows) in zip(axes, parts, strict=True):
        points: list[dict] = []
        for index, system in enumerate(drawn):
            own = system.rows_among(rows).sort(column)
            shift = 2 ** dodge(index, len(drawn), width)
            draw_points(one, system, [value * shift for value in own[column]], own, metric)
            filled = own.drop_nulls(metric)
            points.append({value: (value * shift, mean) for value, mean in filled.select(column, metric).rows()})
        for first, second in ((points[place], points[other]) for place, other in twins(drawn)):
            common = [value for value in first if value in second]
            draw_twins(one, [first[value] for value in common], [second[value] for value in common])
        entitle(one, title)
        one.set_xscale("log", base=2)
        one.set_xticks(steps, [str(step) for step in steps])
        one.xaxis.set_minor_locator(NullLocator())
        one.set_xlim(2 ** (places[0] - edge), 2 ** (places[-1] + edge))
    label_x(axes, label(column))
    value_axis(axes, table, [metric])
    legend(figure, system_handles(drawn), table)
    return figure


def ranked_rows(table: pl.DataFrame, metric: str, panel_columns: tuple[str, ...], ranks: Ranks | None = None) -> Figure:
    """One row a system, the highest mean first, with its value beside it; a panel for each value of the panel columns,
    one below the other. Between two rows: by how much the upper one is ahead, if the ranking tells them apart."""
    parts = panels(table.drop_nulls(metric), panel_columns)
    figure, grid = row_canvas([len(systems(rows, panel_columns)) for _, rows in parts])
    ranking = ranks(metric) if ranks else None
    every: list[System] = []
    for (axes,), (title, rows) in zip(grid, parts, strict=True):
        ranked = in_order(systems(rows, panel_columns), metric)
        best = [system.rows.sort(metric, descending=True)[:1] for system in ranked]
        for place, (system, own) in enumerate(zip(ranked, best, strict=True)):
            axes.axhline(place, color="#bbbbbb", linewidth=0.5, linestyle=":", zorder=0)
            draw_points(axes, system, [place], own, metric, joined=False, along="x")
            beside(axes, place, with_interval(*(float(values[0]) for values in bounds(own, metric))))
        for place, other in twins(ranked):
            draw_twins(axes, [(best[place][metric][0], place)], [(best[other][metric][0], other)])
        compared = [place for place, system in enumerate(ranked) if not (system.floor or system.twin_of)]
        for place, other in itertools.pairwise(compared) if ranking is not None else ():
            assert ranking is not None
            text = ahead_by(ranking, best[place].row(0, named=True), best[other].row(0, named=True))
            beside(axes, other - 0.5, text, fontsize=5.5, color="#555555")
        label_rows(axes, [system.label for system in ranked])
        entitle(axes, title, loc="left")
        value_axis([axes], rows, [metric], along="x")
        every += ranked
    legend(figure, twin_handles(every), table)
    return figure


def in_order(drawn: list[System], metric: str) -> list[System]:
    """Systems, the highest mean first, each followed by its twins; floors come last."""
    best = {system.label: system.rows[metric].max() for system in drawn}

    def sort_key(system: System) -> tuple:
        return system.floor, -best.get(system.twin_of, best[system.label]), system.twin_of or system.label, system.label

    return sorted(drawn, key=sort_key)


def ahead_by(ranking: Ranking, row: dict[str, Any], other: dict[str, Any]) -> str:
    """A row's metric as a multiple of the other's, where the ranking tells them apart; empty where it ranks neither."""
    pair, ratio = ranking.between(row, other), ranking.relative(row, other)
    if pair is None or ratio is None:
        return ""
    return f"{ratio.mean:.2f}\u00d7 [{ratio.low:.2f}, {ratio.high:.2f}]" if pair.told else "not told apart"


def nothing(text: str) -> Figure:
    """A figure of no run, which says so."""
    figure = Figure(figsize=(SINGLE, HEIGHT))
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the file's suffix: equal figures give equal bytes.

    Raises CrayfishError for a suffix other than .svg, .pdf and .png.
    """
    if path.suffix not in NO_DATES:
        raise CrayfishError(f"--out {path}: {path.suffix!r} is no format of a figure; allowed: {', '.join(NO_DATES)}")
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, metadata=NO_DATES[path.suffix])
