"""How figures, captions and the notebook call things, and how the systems look: the same everywhere.

A processor gives its system's colour and line (so that black and white suffices), a scorer the marker and its filling.
A variant of a system (another execution, scoring, ...) has an open or half filled marker. Processors, scorers and
models declare their names, colours and markers.
"""

from __future__ import annotations

import functools
import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl

from crayfish.results.tables import TIMEOUTS, varying_columns
from crayfish.spec import discovery
from crayfish.spec.contracts import LineStyle
from crayfish.spec.run_spec import choices, default

# --- names ------------------------------------------------------------------------------------------------------------


class Column(NamedTuple):
    """How a column of the tables is called."""

    words: str
    unit: str = ""
    short: str = ""  # a value as titles and labels write it, which have little space; "": as captions do
    plain: bool = False  # a metric that can be 0 or negative: its intervals are on plain values, not on logarithms
    higher: bool = False  # a metric of which more is better


PERCENTILES = {
    "p50": "median",
    "p90": "90th percentile of",
    "p95": "95th percentile of",
    "p99": "99th percentile of",
    "p99_9": "99.9th percentile of",
    "max": "maximum",
    "mean": "mean",
}
LATENCIES = {
    "latency": "latency",
    "append_minus_due": "latency until the append",
    "append_minus_sent": "latency from sending to append",
    "latency_generation": "latency of generator and broker",
    "latency_processing": "latency of the processor",
    "latency_delivery": "latency of broker and sink",
}
# What is missing here is called as its column, with spaces.
COLUMNS = {
    "processor": Column("processor", short="{}"),
    "scorer": Column("scorer", short="{}"),
    "model": Column("model", short="{}"),
    "rate_events_per_s": Column("input rate", "events/s", "{} events/s"),
    "peak_rate_events_per_s": Column("peak rate", "events/s"),
    "rates_of": Column("rates relative to"),
    "points_per_event": Column("data points per event", short="{} data points per event"),
    "warmup_s": Column("warm-up", "s"),
    "measure_s": Column("measured time", "s"),
    "burst_s": Column("length of a burst", "s"),
    "between_s": Column("time between bursts", "s"),
    "objective_ms": Column("objective of the 99th percentile of latency", "ms"),
    "search_s": Column("probing", "s"),
    "at_most_s": Column("drained for at most", "s"),
    "async_calls": Column("requests in flight per instance"),
    "engine_batch_max": Column("events per model call", short="at most {} together"),
    "engine_batch_wait_ms": Column("wait of a batch", "ms", "wait {} ms"),
    "server_batch_max": Column("requests per model call of the server", short="server batch of {}"),
    "server_batch_delay_ms": Column("delay of a batch in the server", "ms", "delay {} ms"),
    "linger_ms": Column("producer linger", "ms"),
    "batch_bytes": Column("producer batch", "bytes"),
    "acks": Column("acknowledged by"),
    "in_flight": Column("producer requests in flight"),
    "fetch_partition_bytes": Column("fetched of a partition", "bytes"),
    "fetch_wait_ms": Column("fetch wait", "ms"),
    "fetch_min_bytes": Column("fetched at least", "bytes"),
    "commit_interval_ms": Column("commit interval", "ms"),
    "on_server_failure": Column("on server failure"),
    "cores": Column("cores of processor and server alone", short="{} cores of its own"),
    "machine_speed": Column("speed of the machine"),
    "other_cores": Column("cores used by other processes"),
    "stolen_cores": Column("cores withheld by the hypervisor"),
    "cpu_reference_us_per_event": Column("CPU time per event at the reference speed", "us"),
    "instructions_per_event": Column("instructions per event"),
    "scorer_threads": Column("threads per scorer"),
    "gpu_utilisation": Column("utilisation of the GPU", plain=True),
    "gpu_memory_mib": Column("memory used of the GPU", "MiB"),
    "gpu_clock_mhz": Column("clock of the GPU", "MHz"),
    "lateness_bound_ms": Column("lateness bound", "ms"),
    "burst": Column("burst"),
    "second": Column("time", "s"),
    **{
        f"{name}_{part}_ms": Column(f"{statistic} {latency}", "ms")
        for name, latency in LATENCIES.items()
        for part, statistic in PERCENTILES.items()
    },
    "latency_ms": Column("latency", "ms"),
    "throughput_events_per_s": Column("throughput", "events/s", higher=True),
    "throughput_points_per_s": Column("throughput", "data points/s", higher=True),
    "throughput_paper_events_per_s": Column("throughput as the paper has it", "events/s", higher=True),
    "warmup_extended_s": Column("warm-up extended by", "s"),
    "sustainable_events_per_s": Column("sustainable rate", "events/s", higher=True),
    **{
        f"sustainable_{objective}ms_events_per_s": Column(
            f"sustainable rate at {objective} ms", "events/s", higher=True
        )
        for objective in (100, 300, 1000)
    },
    "recovery_s": Column("recovery time", "s", plain=True),
    "outage_s": Column("longest time without a prediction", "s", plain=True),
    "backlog_growth_events_per_s": Column("growth of the backlog", "events/s", plain=True),
    "late_share": Column("share of late events", plain=True),
    "due_events_per_s": Column("events due", "events/s", plain=True),
    "appended_events_per_s": Column("predictions appended", "events/s", plain=True),
    "burst_start_s": Column("start of the burst", "s"),
    "burst_end_s": Column("end of the burst", "s"),
    **{
        f"{name}_{part}": Column(f"{PERCENTILES[part]} {words}", unit, plain=plain)
        for name, words, unit, plain in (
            ("engine_batch_size", "size of the engine's batches", "events", False),
            ("engine_batch_wait_ms", "wait of the engine's batches", "ms", True),
            ("server_batch_size", "size of the server's batches", "requests", False),
            ("server_batch_queue_ms", "wait in the server's queue", "ms", True),
        )
        for part in ("mean", "p50", "p99")
    },
    "cpu_us_per_event": Column("CPU time per event", "us"),
    "cpu_processor_us_per_event": Column("CPU time of the processor per event", "us"),
}
AGAIN = "again"  # how a twin's label ends
# Values of a field in words that need no field's name beside them, in the order in which figures compare them.
VALUES: dict[str, dict[object, str]] = {
    "codec": {"binary": "binary", "json": "JSON"},
    "scoring": {"per_event": "per event", "vectorised": "vectorised"},
    "parallelism_model": {"data": "N-N-N", "task": "P-N-P"},
    "transport": {"kafka": "with Kafka", "in_engine": "without Kafka"},
    "execution": {name: name for name in choices()["execution"]},
    "device": {"cpu": "CPU", "cuda": "GPU"},
    "delivery": {"at_least_once": "at least once", "exactly_once": "exactly once"},
    "protocol": {"grpc": "gRPC", "http": "HTTP"},
    "fault": {
        **{name: name.replace("_", " ") for name in choices()["fault"]},
        "none": "no fault",
    },
    "rates_of": {"sustainable": "the sustainable rate"},
}
# Fields whose default is to do without, or what everybody expects: nothing is to be said of a system that has it.
WITHOUT = {
    name: default(name)
    for name in (
        "async_calls",
        "brokers",
        "delivery",
        "engine_batch_max",
        "engine_batch_wait_ms",
        "on_server_failure",
        "server_batch_max",
        "server_batch_delay_ms",
    )
}
LOAD = (
    "load",
    "rate_events_per_s",
    "rates_of",
    "warmup_s",
    "measure_s",
    "peak_rate_events_per_s",
    "burst_s",
    "between_s",
    "objective_ms",
    "search_s",
    "at_most_s",
)


def column(name: str) -> Column:
    """How a column is called."""
    return COLUMNS.get(name) or Column(name.replace("_", " "))


def label(name: str) -> str:
    """A column as an axis or a heading: its words and its unit."""
    words, unit, *_ = column(name)
    return f"{words} ({unit})" if unit else words


@functools.cache
def display_names() -> dict[str, str]:
    """Name of a processor, scorer or model -> how figures write it."""
    rooms = (
        ("processors", discovery.processor),
        ("scorers", discovery.scorer),
        ("models", discovery.model),
    )
    return {name: declaration(name).display_name for room, declaration in rooms for name in discovery.names(room)}


def display(value: object) -> str:
    """A value as figures and captions write it."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return display_names().get(text, text)


def long(name: str, value: object) -> str:
    """A column and its value as a caption writes them: "input rate 400 events/s"."""
    words, unit, *_ = column(name)
    return f"{words} {VALUES.get(name, {}).get(value) or display(value)} {unit}".rstrip()


def short(name: str, value: object) -> str:
    """A value as a title or a label writes it, so that it tells its column too: "400 events/s"."""
    if known := VALUES.get(name, {}).get(value):
        return known
    written = column(name).short
    return written.format(display(value)) if written else long(name, value)


def scorer_name(scorer: str, substitutes: str) -> str:
    """A scorer's name, with what stands in for the official product where a substitute does."""
    for substitute in substitutes.split("; "):
        if substitute.startswith(f"{scorer} ("):
            return display(scorer) + substitute.removeprefix(scorer)
    return display(scorer)


# --- looks ------------------------------------------------------------------------------------------------------------

# Of systems that this checkout does not have. All colours are of Okabe and Ito's palette, which stays apart for every
# common colour blindness.
OTHER_PROCESSORS: tuple[tuple[str, LineStyle], ...] = (
    ("#E69F00", (0, (8, 2))),
    ("#56B4E9", (0, (3, 1, 1, 1, 1, 1))),
    ("#000000", (0, (1, 3))),
)
OTHER_SCORERS: tuple[tuple[str, str | None], ...] = ((">", None), ("d", "#cccccc"), ("H", "#F0E442"), ("8", "#000000"))
SIZE = 5.0  # of a marker, in points
SIZES = {"*": 8.0, "P": 6.0, "X": 6.0}  # of markers that would look smaller than the others
FILLINGS = ("full", "none", "left", "bottom")  # of a system's variants, one after the other
FLOOR: tuple[str, LineStyle] = ("#8c8c8c", (0, (2, 2)))


@dataclass(frozen=True)
class System:
    """One system of a figure: its rows and its looks."""

    label: str
    rows: pl.DataFrame
    color: str
    line: LineStyle
    marker: str
    face: str
    filling: str
    floor: bool = False  # what the measuring system itself costs: drawn, and ranked with nothing
    twin_of: str = ""  # the label of the system whose twin it is

    def looks(self, joined: bool = True) -> dict[str, Any]:
        """Its looks as matplotlib takes them, for points and for the legend alike; points that are not joined have no
        line."""
        return {
            "color": self.color,
            "linestyle": self.line if joined else "none",
            "marker": self.marker,
            "markersize": SIZES.get(self.marker, SIZE),
            **filled(self.filling, self.face),
            "markeredgecolor": self.color,
            "markeredgewidth": 0.9,
        }

    def rows_among(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Those of its rows whose run and segment these rows have too."""
        return self.rows.join(rows.select("run", "segment").unique(), on=["run", "segment"], how="semi")

    def segments(self, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """The same, apart by run and segment."""
        for _, segment in self.rows_among(rows).group_by("run", "segment", maintain_order=True):
            yield segment


def filled(filling: str, face: str) -> dict[str, Any]:
    """How a marker is filled, as matplotlib takes it; an open one hides what lies behind it."""
    if filling == "none":
        return {"fillstyle": "full", "markerfacecolor": "white"}
    return {"fillstyle": filling, "markerfacecolor": face, "markerfacecoloralt": "white"}


def looks_of_processor(name: str) -> tuple[str, LineStyle]:
    """Its colour and line; one of OTHER_PROCESSORS where this checkout has no such processor."""
    if is_floor(name):
        return FLOOR
    if name in discovery.names("processors"):
        declaration = discovery.processor(name)
        return declaration.color, declaration.line
    return OTHER_PROCESSORS[zlib.crc32(name.encode()) % len(OTHER_PROCESSORS)]


def is_floor(processor: str) -> bool:
    """Whether a processor scores nothing and so tells what the measuring system itself costs."""
    return processor in discovery.names("processors") and discovery.processor(processor).floor


def looks_of_scorer(name: str) -> tuple[str, str | None]:
    """Its marker and filling; one of OTHER_SCORERS where this checkout has no such scorer."""
    if name in discovery.names("scorers"):
        declaration = discovery.scorer(name)
        return declaration.marker, declaration.fill
    return OTHER_SCORERS[zlib.crc32(name.encode()) % len(OTHER_SCORERS)]


def systems(table: pl.DataFrame, axes: tuple[str, ...]) -> list[System]:
    """The systems of a table: whatever varies and is neither an axis nor the load's tells one system from another."""
    common = (*axes, *LOAD, *TIMEOUTS, "processor", "scorer")
    distinct = [name for name in varying_columns(table) if name not in common]
    found: list[System] = []
    variants: dict[tuple[str, str], Iterator[int]] = {}
    for (processor, scorer, *values), rows in table.group_by("processor", "scorer", *distinct, maintain_order=True):
        variant = next(variants.setdefault((processor, scorer), itertools.count()))
        color, line = looks_of_processor(processor)
        marker, face = looks_of_scorer(scorer)
        told = {
            name: value
            for name, value in zip(distinct, values, strict=True)
            if name != "twin" and not (name in WITHOUT and value == WITHOUT[name])
        }
        details = [short(name, value) for name, value in told.items()]
        system = f"{display(processor)}, {scorer_name(scorer, rows['substitutes'][0])}"
        twin = dict(zip(distinct, values, strict=True)).get("twin") or 0
        again = [AGAIN if twin == 1 else f"{AGAIN}, {twin}"] if twin else []
        name, of = (f"{system} ({', '.join(words)})" if words else system for words in (details + again, details))
        filling, floor = FILLINGS[variant % len(FILLINGS)], is_floor(processor)
        found.append(System(name, rows, color, line, marker, face or color, filling, floor, of if twin else ""))
    return found


def twins(drawn: list[System]) -> list[tuple[int, int]]:
    """The places of each system and of its twin among some systems."""
    places = {system.label: place for place, system in enumerate(drawn)}
    return [(places[system.twin_of], place) for place, system in enumerate(drawn) if system.twin_of in places]


def panels(table: pl.DataFrame, names: tuple[str, ...]) -> list[tuple[str, pl.DataFrame]]:
    """The table, apart by those of the columns that vary: the title and the rows of each panel.

    A floor has a scorer of its own, and is in the panels of all scorers.
    """
    floors = pl.Series([is_floor(name) for name in table["processor"]], dtype=pl.Boolean)
    own = table.filter(~floors) if "scorer" in names and not floors.all() else table
    names = tuple(name for name in names if own[name].n_unique() > 1)
    if not names:
        return [("", table)]
    parts = []
    for key, rows in own.sort(names, maintain_order=True).group_by(names, maintain_order=True):
        if len(own) < len(table):
            matches = [
                pl.col(name).eq_missing(pl.lit(value))
                for name, value in zip(names, key, strict=True)
                if name != "scorer"
            ]
            rows = pl.concat([rows, table.filter(floors).filter(*matches)])
        parts.append((", ".join(short(name, value) for name, value in zip(names, key, strict=True)), rows))
    return parts
