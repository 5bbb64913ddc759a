"""What batches in the engine or in the server bring, and what they cost: events/s against a tail of the latency."""

from dataclasses import replace

import polars as pl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from crayfish.results import looks, plots
from crayfish.results.tables import chosen_metric
from crayfish.spec.contracts import FigureKind

PANELS = ("model", "points_per_event", "processor", "scorer")
RATE = "rate_events_per_s"
ACROSS = "throughput_events_per_s"
# A slow model's runs have too few events for the highest.
METRICS = ("latency_p99_ms", "latency_p95_ms", "latency_p90_ms", "latency_p50_ms")
# A size has a colour, a wait a line and a marker: those of engines and servers alike.
COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7")
WAITS = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))


def batch_of(row: dict) -> tuple[int, float]:
    """The largest batch of a run, of its engine or of its server (0: what the engine has), and the wait for it, ms."""
    if (row.get("server_batch_max") or 1) > 1:
        return row["server_batch_max"], row.get("server_batch_delay_ms") or 0.0
    if row.get("scoring") == "vectorised":
        return row.get("engine_batch_max") or 0, row.get("engine_batch_wait_ms") or 0.0
    return 1, 0.0


def draw(table: pl.DataFrame) -> Figure:
    parts, metric = looks.panels(table, PANELS), chosen_metric(METRICS, table)
    figure, axes = plots.canvas(parts, PANELS[-1])
    drawn = [(batch_of(system.rows.row(0, named=True)), system) for system in looks.systems(table, (*PANELS, RATE))]
    sizes, waits = (sorted({batch[place] for batch, _ in drawn}) for place in (0, 1))
    found: dict[tuple[int, float], Line2D] = {}
    for one, (title, rows) in zip(axes, parts, strict=True):
        for batch, system in sorted(drawn, key=lambda pair: pair[0]):
            color = COLORS[sizes.index(batch[0]) % len(COLORS)]
            line, marker = WAITS[waits.index(batch[1]) % len(WAITS)]
            own = replace(system, color=color, line=line, marker=marker, face=color, filling="full")
            points = own.rows_among(rows).sort(RATE)
            plots.draw_points(one, own, points[ACROSS].to_list(), points, metric)
            if len(points):
                found.setdefault(batch, Line2D([], [], label=words(*batch), **own.looks()))
        plots.entitle(one, title)
    plots.value_axis(axes, table, [ACROSS], looks.label(ACROSS), along="x")
    plots.value_axis(axes, table, [metric], looks.label(metric), log=True)
    plots.legend(figure, [found[batch] for batch in sorted(found)], table)
    return figure


def words(size: int, wait_ms: float) -> str:
    """A batch as the legend writes it."""
    if size == 1:
        return "one at a time"
    return f"at most {size or 'what is there'}" + (f", {wait_ms:g} ms" if wait_ms else "")


FIGURE_KIND = FigureKind(
    title="Batching",
    text=(
        "The 99th percentile of latency, or the highest one that all runs have, against the predictions appended per"
        " second, at rising input rates, by the events that share a model call at most, in the engine or in the server,"
        " and how long a batch waits for more: where a line turns upwards its system no longer keeps up."
    ),
    part="means",
    axes=(*PANELS, RATE),
    metrics=METRICS,
    draw=draw,
)
