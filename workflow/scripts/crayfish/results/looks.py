"""How the systems are called and how they look: the same in every figure.

A processor gives colour and line (so that black and white suffices), a scorer the marker and its filling; a variant of
a system (another execution, scoring, ...) has an open or half filled marker. Names, colours and markers are those that
the processors, scorers and models declare.
"""

from __future__ import annotations

import functools
import itertools
import zlib
from dataclasses import dataclass

import polars as pl

from crayfish.results.tables import UNMENTIONED, varied
from crayfish.spec import discovery
from crayfish.spec.contracts import LineStyle

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
# Values that need no field's name beside them, each field's in the order in which they are compared.
VALUES = {
    "codec": {"binary": "binary", "json": "JSON"},
    "scoring": {"per_event": "per event", "vectorised": "vectorised"},
    "parallelism_model": {"data": "N-N-N", "task": "P-N-P"},
    "transport": {"kafka": "with Kafka", "in_engine": "without Kafka"},
    "execution": {
        name: name for name in ("auto", "thread", "process", "micro_batch", "real_time", "fused", "pipeline")
    },
    "delivery": {"at_least_once": "at least once", "exactly_once": "exactly once"},
    "protocol": {"grpc": "gRPC", "http": "HTTP"},
}
UNITS = {
    "rate_events_per_s": "{} events/s",
    "points_per_event": "{} data points an event",
    "parallelism": "parallelism {}",
    "segment": "segment {}",
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
    "confirm_s",
    "at_most_s",
)


@functools.cache
def display_names() -> dict[str, str]:
    """Name of a processor, scorer or model -> how figures write it."""
    return {
        name: declared(name).display_name
        for room, declared in (
            ("processors", discovery.processor),
            ("scorers", discovery.scorer),
            ("models", discovery.model),
        )
        for name in discovery.names(room)
    }


def shown(value: object) -> str:
    """A value as a figure or a caption writes it."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return display_names().get(text, text)


def named(field: str, value: object) -> str:
    """A field's value in words that tell the field too."""
    known = VALUES.get(field, {}).get(value)
    if known is None and field in UNITS:
        return UNITS[field].format(shown(value))
    return known or (shown(value) if field in ("model", "processor", "scorer") else f"{field} {shown(value)}")


@dataclass(frozen=True)
class System:
    """One system of a figure: its rows and its looks."""

    label: str
    rows: pl.DataFrame
    color: str
    line: object
    marker: str
    face: str
    filling: str

    def looks(self, joined: bool = True) -> dict:
        """What matplotlib is told of them, for points and for the legend alike."""
        return {
            "color": self.color,
            "linestyle": self.line if joined else "none",
            "marker": self.marker,
            "markersize": SIZES.get(self.marker, SIZE),
            **filled(self.filling, self.face),
            "markeredgecolor": self.color,
            "markeredgewidth": 0.9,
        }


def filled(filling: str, face: str) -> dict:
    """How a marker is filled; an open one hides what lies behind it."""
    if filling == "none":
        return {"fillstyle": "full", "markerfacecolor": "white"}
    return {"fillstyle": filling, "markerfacecolor": face, "markerfacecoloralt": "white"}


def looks_of_processor(name: str) -> tuple[str, LineStyle]:
    """Its colour and line; one of OTHER_PROCESSORS where this checkout has no such processor."""
    if name in discovery.names("processors"):
        declared = discovery.processor(name)
        return declared.color, declared.line
    return OTHER_PROCESSORS[zlib.crc32(name.encode()) % len(OTHER_PROCESSORS)]


def looks_of_scorer(name: str) -> tuple[str, str | None]:
    """Its marker and filling; one of OTHER_SCORERS where this checkout has no such scorer."""
    if name in discovery.names("scorers"):
        declared = discovery.scorer(name)
        return declared.marker, declared.fill
    return OTHER_SCORERS[zlib.crc32(name.encode()) % len(OTHER_SCORERS)]


def scorer_name(scorer: str, substitutes: str) -> str:
    """A scorer's name, as the substitute that it is where it is one."""
    for substitute in substitutes.split("; "):
        if substitute.startswith(f"{scorer} ("):
            return shown(scorer) + substitute.removeprefix(scorer)
    return shown(scorer)


def systems(table: pl.DataFrame, axes: tuple[str, ...]) -> list[System]:
    """The systems of a table: everything that differs and is not on an axis tells one from another."""
    apart = [name for name in varied(table) if name not in (*axes, *LOAD, *UNMENTIONED, "processor", "scorer")]
    found, variants = [], {}
    for key, rows in table.group_by(["processor", "scorer", *apart], maintain_order=True):
        processor, scorer, *rest = key
        variant = next(variants.setdefault((processor, scorer), itertools.count()))
        color, line = looks_of_processor(processor)
        marker, face = looks_of_scorer(scorer)
        extra = ", ".join(named(name, value) for name, value in zip(apart, rest, strict=True))
        label = f"{shown(processor)}, {scorer_name(scorer, rows['substitutes'][0])}" + (f" ({extra})" if extra else "")
        filling = FILLINGS[variant % len(FILLINGS)]
        found.append(System(label, rows, color, line, marker, face or color, filling))
    return found


def inside(system: System, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of a system that are among these."""
    return system.rows.join(rows.select("run", "segment").unique(), on=["run", "segment"], how="semi")


def panels(table: pl.DataFrame, names: tuple[str, ...]) -> list[tuple[str, pl.DataFrame]]:
    """The table apart by those of the columns that vary: a title and the rows of each panel."""
    names = tuple(name for name in names if table[name].n_unique() > 1)
    if not names:
        return [("", table)]
    ordered = table.sort(names, maintain_order=True).group_by(names, maintain_order=True)
    return [
        (", ".join(named(name, value) for name, value in zip(names, key, strict=True)), rows) for key, rows in ordered
    ]
