"""The figures: one style for all of them, one function a kind: tables of tabulate.py in, figures and captions out.

A system looks the same in every figure: its processor gives colour and line (so that black and white suffices), its
scorer the marker; a variant of it (another execution, scoring, ...) has an open marker. Points are means over
repetitions, bars their 95 % intervals; a ring marks a point whose runs carry a warning; substitutes and synthetic data
are named in the figure itself. The caption says what was held fixed, the repetitions, the machine, what is not told
apart, and warnings. A new kind is one function with the decorator `kind`.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from crayfish import statistics
from crayfish.errors import CrayfishError

matplotlib.use("agg")

# Okabe and Ito's palette, which stays apart for every common colour blindness.
PROCESSORS = {
    "flink": ("#0072B2", "-"),
    "kafka_streams": ("#D55E00", (0, (5, 1.5))),
    "spark": ("#009E73", (0, (5, 1.5, 1, 1.5))),
    "ray": ("#CC79A7", (0, (1, 1.2))),
}
OTHER_PROCESSORS = (("#E69F00", (0, (8, 2))), ("#56B4E9", (0, (3, 1, 1, 1, 1, 1))), ("#000000", (0, (1, 3))))
SCORERS = {
    "onnx": "o",
    "noop": "X",
    "savedmodel": "s",
    "torchscript": "^",
    "dl4j": "D",
    "nd4j": "v",
    "torchserve": "P",
    "tf_serving": "<",
    "ray_serve": "*",
    "triton": "p",
}
OTHER_SCORERS = (">", "d", "H", "8")
PROPER_NAMES = {
    "flink": "Flink",
    "kafka_streams": "Kafka Streams",
    "spark": "Spark",
    "ray": "Ray",
    "onnx": "ONNX Runtime",
    "noop": "no-op",
    "savedmodel": "SavedModel",
    "torchscript": "TorchScript",
    "dl4j": "DL4J",
    "nd4j": "ND4J",
    "torchserve": "TorchServe",
    "tf_serving": "TensorFlow Serving",
    "ray_serve": "Ray Serve",
    "triton": "Triton",
    "ffnn": "FFNN",
    "resnet50": "ResNet50",
    "vgg19": "VGG19",
}
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
    "lines.linewidth": 1.2,
    "lines.markersize": 5,
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
LETTERS = 16.5  # of the legend, an inch
LOAD = ("load", "rate_events_per_s", "warmup_s", "measure_s", "peak_rate_events_per_s", "burst_s", "between_s")
UNMENTIONED = ("ready_timeout_s", "drain_timeout_s")  # they bound a run's waits and change no figure
MOST_NAMED = 8  # warnings or pairs that a caption spells out
LOG_FROM = 20.0  # the ratio of the largest to the smallest mean from which an axis is logarithmic


RING = {
    "linestyle": "none",
    "marker": "o",
    "markersize": 10,
    "fillstyle": "none",
    "markeredgewidth": 0.6,
    "color": "black",
}


class Kind(NamedTuple):
    """One kind of figure: what draws it, and what its caption says before the rest."""

    draw: Callable[[pl.DataFrame], Figure]
    title: str
    text: str
    axes: tuple[str, ...]  # the table's columns that the figure shows as axis or panels
    metric: str  # by which systems are compared


KINDS: dict[str, Kind] = {}


def kind(title: str, text: str, axes: tuple[str, ...], metric: str) -> Callable:
    """Declare the function below as a kind of figure of its own name."""

    def register(draw: Callable[[pl.DataFrame], Figure]) -> Callable[[pl.DataFrame], Figure]:
        KINDS[draw.__name__] = Kind(draw, title, text, axes, metric)
        return draw

    return register


# --- tables -----------------------------------------------------------------------------------------------------------


def read_table(path: Path) -> pl.DataFrame:
    """A table of tabulate.py; empty texts stay texts."""
    table = pl.read_csv(path, infer_schema_length=None)
    texts = [name for name in ("warnings", "substitutes", "machine", "run") if name in table.columns]
    empty = [name for name, of in table.schema.items() if of == pl.String and table[name].null_count() == len(table)]
    return table.with_columns(
        *(pl.col(name).cast(pl.Float64) for name in empty if name not in texts),
        *(pl.col(name).cast(pl.String).fill_null("") for name in texts),
    )


def field_names(table: pl.DataFrame) -> list[str]:
    """The columns that say what was run."""
    names = table.columns
    return [name for name in names[1 : names.index("repetitions")] if name != "segment"]


def varied(table: pl.DataFrame) -> list[str]:
    """Those of them with more than one value."""
    return [name for name in field_names(table) if table[name].n_unique() > 1]


def shown(value: object) -> str:
    """A value as a figure or a caption writes it."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return PROPER_NAMES.get(text, text)


@dataclass(frozen=True)
class System:
    """One system of a figure: its rows and its looks."""

    label: str
    rows: pl.DataFrame
    color: str
    line: object
    marker: str
    open: bool

    def looks(self, joined: bool = True) -> dict:
        """What matplotlib is told of them, for points and for the legend alike."""
        return {
            "color": self.color,
            "linestyle": self.line if joined else "none",
            "marker": self.marker,
            "markerfacecolor": "white" if self.open else self.color,
            "markeredgecolor": self.color,
            "markeredgewidth": 0.9,
        }


def _pick(known: dict, others: tuple, name: str):
    return known.get(name) or others[zlib.crc32(name.encode()) % len(others)]


def scorer_name(scorer: str, substitutes: str) -> str:
    """A scorer's name, as the substitute that it is where it is one."""
    for substitute in substitutes.split("; "):
        if substitute.startswith(f"{scorer} ("):
            return shown(scorer) + substitute.removeprefix(scorer)
    return shown(scorer)


def systems(table: pl.DataFrame, axes: tuple[str, ...]) -> list[System]:
    """The systems of a table: everything that differs and is not on an axis tells one from another."""
    apart = [name for name in varied(table) if name not in (*axes, *LOAD, "processor", "scorer")]
    found, variants = [], {}
    for key, rows in table.group_by(["processor", "scorer", *apart], maintain_order=True):
        processor, scorer, *rest = key
        variant = variants.setdefault((processor, scorer), itertools.count())
        color, line = _pick(PROCESSORS, OTHER_PROCESSORS, processor)
        extra = ", ".join(f"{name} {shown(value)}" for name, value in zip(apart, rest, strict=True))
        label = f"{shown(processor)}, {scorer_name(scorer, rows['substitutes'][0])}" + (f" ({extra})" if extra else "")
        found.append(System(label, rows, color, line, _pick(SCORERS, OTHER_SCORERS, scorer), next(variant) % 2 == 1))
    return found


def panels(table: pl.DataFrame, names: tuple[str, ...]) -> list[tuple[str, pl.DataFrame]]:
    """The table apart by those of the columns that vary: a title and the rows of each panel."""
    names = tuple(name for name in names if table[name].n_unique() > 1)
    if not names:
        return [("", table)]
    units = {"rate_events_per_s": "{} events/s", "points_per_event": "{} data points an event"}
    ordered = table.sort(names, maintain_order=True).group_by(names, maintain_order=True)
    return [
        (", ".join(units.get(name, "{}").format(shown(value)) for name, value in zip(names, key, strict=True)), rows)
        for key, rows in ordered
    ]


# --- drawing ----------------------------------------------------------------------------------------------------------


def draw_points(
    axes: Axes, system: System, x: list[float], rows: pl.DataFrame, metric: str, joined: bool = True
) -> None:
    """Means with their intervals, a ring around each that carries a warning. Figures that do not exist are left out."""
    there = [index for index, value in enumerate(rows[metric]) if value is not None]
    x, rows = [x[index] for index in there], rows[there]
    mean = rows[metric].to_numpy()
    low, high = (rows[f"{metric}_{end}"].cast(pl.Float64).fill_null(rows[metric]).to_numpy() for end in ("low", "high"))
    axes.errorbar(
        x,
        mean,
        yerr=[mean - low, high - mean],
        elinewidth=0.8,
        capsize=2,
        capthick=0.8,
        **system.looks(joined),
    )
    warned = [index for index, text in enumerate(rows["warnings"]) if text]
    axes.plot([x[index] for index in warned], mean[warned], **RING)


def dodge(index: int, count: int, width: float) -> float:
    """Where the index-th of count systems stands beside the common place, so that intervals do not cover each other."""
    return (index - (count - 1) / 2) * width / max(1, count - 1)


def value_axis(axes: list[Axes], table: pl.DataFrame, metrics: list[str], label: str, log: bool | None = None) -> None:
    """One vertical scale for all panels: from 0, or logarithmic where the means differ by a factor of 20 and more."""
    means = [value for metric in metrics for value in table[metric].drop_nulls() if value > 0]
    if not means:
        raise CrayfishError(
            f"the table has no value of {', '.join(metrics)}; summarise runs of this kind of load first"
        )
    for one in axes:
        if one.get_subplotspec().is_first_col():
            one.set_ylabel(label)
        if log or (log is None and max(means) >= LOG_FROM * min(means)):
            bounds = [
                value
                for metric in metrics
                for end in ("low", "high")
                for value in table[f"{metric}_{end}"].drop_nulls()
            ]
            # An interval of few repetitions can reach to 0 and below, which a logarithmic axis cannot show: it is cut
            # there.
            floor = max(min(means) / 4, min([bound for bound in bounds if bound > 0] + means) / 1.3)
            one.set_yscale("log")
            one.set_ylim(floor, max(bounds + means) * 1.3)
            one.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            one.yaxis.set_minor_locator(LogLocator(subs=range(1, 10)))
            one.yaxis.set_minor_formatter(NullFormatter())
        else:
            one.set_ylim(bottom=0)
        one.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}".replace(",", "\u202f")))


def notes(table: pl.DataFrame) -> list[str]:
    """What is not what it may seem: substitutes and synthetic data."""
    named = [part for text in table["substitutes"].unique(maintain_order=True) for part in text.split("; ") if part]
    synthetic = ["synthetic data"] if "synthetic" in table["dataset"].to_list() else []
    return list(dict.fromkeys(named + synthetic))


def legend(figure: Figure, drawn: list[System], table: pl.DataFrame) -> None:
    """The systems, the ring's meaning, and the notes, above the panels."""
    handles = [Line2D([], [], label=system.label, **system.looks()) for system in drawn]
    if any(table["warnings"]):
        handles.append(Line2D([], [], label="a warning, see caption", **RING))
    widest = max(len(handle.get_label()) for handle in handles)
    columns = max(1, min(len(handles), int(figure.get_figwidth() * LETTERS / (widest + 7))))
    lines = -(-len(handles) // columns) + bool(title := "; ".join(notes(table)))
    figure.set_figheight(figure.get_figheight() + 0.17 * lines)
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        title=title or None,
        alignment="left",
        handlelength=3,
        columnspacing=1.5,
    )


def canvas(count: int) -> tuple[Figure, list[Axes]]:
    """A figure with this many panels beside each other, four a row at most, on common axes."""
    columns = min(count, 4)
    rows = -(-count // columns)
    wide = SINGLE if count == 1 else min(DOUBLE, 1.1 + 2.0 * columns)
    figure = Figure(figsize=(wide, HEIGHT * rows))
    grid = figure.subplots(rows, columns, sharey=True, sharex=True, squeeze=False)
    flat = list(grid.flat)
    for unused in flat[count:]:
        unused.set_visible(False)
    return figure, flat[:count]


# --- kinds ------------------------------------------------------------------------------------------------------------


@kind(
    title="Throughput by parallelism",
    text="Predictions appended to the output topic per second, of systems that are saturated.",
    axes=("parallelism", "model"),
    metric="throughput_events_per_s",
)
def throughput_by_parallelism(table: pl.DataFrame) -> Figure:
    parts = panels(table, ("model",))
    figure, axes = canvas(len(parts))
    everyone = systems(table, KINDS["throughput_by_parallelism"].axes)
    steps = sorted(table["parallelism"].unique())
    for one, (title, rows) in zip(axes, parts, strict=True):
        for index, system in enumerate(everyone):
            own = system.rows.join(rows.select("run", "segment"), on=["run", "segment"], how="semi").sort("parallelism")
            shift = 2 ** dodge(index, len(everyone), 0.12)
            draw_points(one, system, [value * shift for value in own["parallelism"]], own, "throughput_events_per_s")
        one.set_title(title)
        one.set_xlabel("parallelism")
        one.set_xscale("log", base=2)
        one.set_xticks(steps, [str(step) for step in steps])
        one.set_xlim(steps[0] / 1.3, steps[-1] * 1.3)
    value_axis(axes, table, ["throughput_events_per_s"], "throughput (events/s)")
    legend(figure, everyone, table)
    return figure


PARTS = {"p50": "p50", "p90": "p90", "p99": "p99", "p99_9": "p99.9", "max": "max"}


@kind(
    title="Latency by rate",
    text=(
        "Latency from when an event was due until its prediction was received: median, 90th, 99th and 99.9th percentile"
        " and the largest. A percentile is shown where at least 10 events lie above it in every repetition."
    ),
    axes=("rate_events_per_s", "points_per_event", "model"),
    metric="latency_p99_ms",
)
def latency_by_rate(table: pl.DataFrame) -> Figure:
    parts = panels(table, ("model", "points_per_event", "rate_events_per_s"))
    figure, axes = canvas(len(parts))
    everyone = systems(table, KINDS["latency_by_rate"].axes)
    for one, (title, rows) in zip(axes, parts, strict=True):
        for index, system in enumerate(everyone):
            own = system.rows.join(rows.select("run", "segment"), on=["run", "segment"], how="semi")
            draw_distribution(one, system, own, dodge(index, len(everyone), 0.36))
        one.set_title(title or "{} events/s".format(shown(table["rate_events_per_s"][0])))
        one.set_xticks(range(len(PARTS)), list(PARTS.values()))
        one.set_xlim(-0.5, len(PARTS) - 0.5)
    value_axis(axes, table, [f"latency_{part}_ms" for part in PARTS], "latency (ms)", log=True)
    legend(figure, everyone, table)
    return figure


def draw_distribution(axes: Axes, system: System, rows: pl.DataFrame, shift: float) -> None:
    """One system's percentiles as points of one line; the maximum, which is no percentile, stands alone."""
    for row in rows.iter_slices(1):
        columns = {end: [row[f"latency_{part}_ms{end}"][0] for part in PARTS] for end in ("", "_low", "_high")}
        points = pl.DataFrame({f"value{end}": pl.Series(values, dtype=pl.Float64) for end, values in columns.items()})
        points = points.with_columns(warnings=pl.lit(row["warnings"][0]))
        places = [index + shift for index in range(len(PARTS))]
        draw_points(axes, system, places[:-1], points[:-1], "value")
        draw_points(axes, system, places[-1:], points[-1:], "value", joined=False)


# --- captions and files -----------------------------------------------------------------------------------------------


def overlaps(table: pl.DataFrame, of: Kind) -> list[str]:
    """Pairs of systems whose intervals share a point at the same place of the figure, so that neither is ahead."""
    at = [name for name in of.axes if table[name].n_unique() > 1]
    places: dict[tuple, list[tuple[str, statistics.Interval]]] = {}
    for system in systems(table, of.axes):
        for row in system.rows.iter_rows(named=True):
            if row[of.metric] is not None:
                ends = (row[f"{of.metric}_low"], row[f"{of.metric}_high"], row["repetitions"])
                places.setdefault(tuple(row[name] for name in at), []).append(
                    (system.label, statistics.Interval(row[of.metric], *ends))
                )
    pairs: dict[str, list[str]] = {}
    for place, there in sorted(places.items()):
        for (first, one), (second, other) in itertools.combinations(there, 2):
            if not statistics.intervals_part(one, other):
                pairs.setdefault(f"{first} and {second}", []).append("/".join(map(shown, place)))
    where = "/".join(name.split("_")[0] for name in at)
    return [f"{pair} ({where} {', '.join(values)})" if where else pair for pair, values in pairs.items()]


def _listed(texts: list[str]) -> str:
    more = len(texts) - MOST_NAMED
    return "; ".join(texts[:MOST_NAMED]) + (f"; and {more} more, see the table" if more > 0 else "")


def _plain(text: str) -> str:
    """Text in which reStructuredText finds no mark-up."""
    return re.sub(r"([\\*`|]|_(?!\w))", r"\\\1", text)


def _warned(table: pl.DataFrame, of: Kind) -> list[str]:
    """Every point with a warning: where it is, and what the warning says."""
    at = [name for name in of.axes if table[name].n_unique() > 1]
    return [
        system.label + "".join(f", {name} {shown(row[name])}" for name in at) + f": {row['warnings']}"
        for system in systems(table, of.axes)
        for row in system.rows.iter_rows(named=True)
        if row["warnings"]
    ]


def caption(name: str, table: pl.DataFrame) -> str:
    """The caption of a figure of this kind, reStructuredText that reads well as plain text."""
    of, counts = KINDS[name], sorted(table["repetitions"].unique())
    if counts[-1] == 1:
        repeated = "Points are single runs: without repetitions there are no intervals, and nothing is ranked."
    else:
        number = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
        repeated = f"Points are means of {number} repetitions; bars are Student's t 95 % intervals over them."
    fixed = [field for field in field_names(table) if table[field].n_unique() == 1 and table[field][0] not in (None, 0)]
    paragraphs = [
        "Held fixed: "
        + ", ".join(f"{field} {shown(table[field][0])}" for field in fixed if field not in UNMENTIONED)
        + ".",
        "Machine: " + "; ".join(table["machine"].unique(maintain_order=True)) + ".",
    ]
    if counts[-1] > 1 and (pairs := overlaps(table, of)):
        what = of.metric.replace("_per_s", "/s").replace("_", " ")
        paragraphs.append(f"Not ranked, because their intervals of {what} overlap: {_listed(pairs)}.")
    if named := notes(table):
        paragraphs.append(f"Substitutes: {'; '.join(named)}.")
    if warned := _warned(table, of):
        paragraphs.append(f"Warnings (ringed points): {_listed(warned)}.")
    return f"**{of.title}.** {of.text} {repeated}\n\n" + "\n\n".join(map(_plain, paragraphs)) + "\n"


def save(figure: Figure, path: Path) -> None:
    """Write a figure as its name says (.svg, .pdf, .png): equal figures give equal bytes."""
    if path.suffix not in NO_DATES:
        raise CrayfishError(f"--out {path}: no figure format {path.suffix!r}; allowed: {', '.join(NO_DATES)}")
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, metadata=NO_DATES[path.suffix])
