"""How large a load is where another run finds that: a pilot's rate sizes a backlog, a search's rate gives fractions.

And whether the disk holds what a load writes.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from crayfish.spec import memory
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import RunSpec

if TYPE_CHECKING:
    from crayfish.harness.run import Run

MARGIN = 1.25
MEMORY_SHARE = 0.4  # of what is free: read from memory, a backlog measures the engine, and not the disk


def sized(spec: RunSpec, by: Path) -> RunSpec:
    """The spec with the rates that another run found: a pilot's for a backlog's size, or fractions of a search's.

    The backlog is larger by MARGIN: a pilot is short, and an engine becomes faster as it runs. It is as large as the
    page cache holds at most; a faster engine is then measured for a shorter time, and the summary says so.
    """
    summary = json.loads(by.read_text())
    if reason := summary.get("failed"):
        raise CrayfishError(f"the run that finds its rate failed: {summary['run']}: {reason}")
    found = summary["segments"][0]
    if spec.saturated:
        load = spec.segments[0]
        most = MEMORY_SHARE * memory.available() / spec.event_bytes / (load.warmup_s + load.measure_s)
        loads = [dataclasses.replace(load, rate=round(min(MARGIN * found["throughput"]["events_per_s"], most), 1))]
    else:
        if not (rate := found["sustainable_events_per_s"]):
            raise CrayfishError(f"no rate is a fraction of a sustainable one: {summary['run']} found none, see {by}")
        loads = [
            dataclasses.replace(load, rate=load.rate * rate, peak_rate=load.peak_rate * rate, of="")
            if load.of
            else load
            for load in spec.segments
        ]
    return dataclasses.replace(spec, segments=tuple(loads))


def disk_bytes(spec: RunSpec, events: int) -> int:
    """About what the broker writes for so many events and their predictions, which as JSON are as large."""
    return int(events * (spec.event_bytes * (2.1 if spec.codec == "json" else 1.1) + 400))


def require_disk(run: Run, events: int) -> None:
    """CrayfishError unless the temporary disk has room for a load of so many events; a broker elsewhere has its own."""
    if "broker" in run.places.existing:
        return
    need, free = disk_bytes(run.spec, events), shutil.disk_usage(run.folder).free
    if free < need:
        raise CrayfishError(
            f"the load's {events} events need {need / 1e9:.1f} GB in {run.folder.parent}, {free / 1e9:.1f} GB are free:"
            " free disk space, point TMPDIR to another disk, or lower load.rate or load.measure_s"
        )
