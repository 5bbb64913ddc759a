"""How large a load is where another run finds that: a pilot's rate sizes a backlog, a search's rate gives fractions."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from crayfish.spec import memory
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import RunSpec

MARGIN = 1.25
MEMORY_SHARE = 0.4  # of what is free: read from memory, a backlog measures the engine, and not the disk


def sized(spec: RunSpec, by: Path) -> RunSpec:
    """The spec with the rates that another run found: a pilot's for a backlog's size, or fractions of a search's.

    The backlog is larger by MARGIN: a pilot is short, and an engine becomes faster as it runs. It is as large as the
    page cache holds at most; a faster engine is then measured for a shorter time, and the summary says so.
    """
    summary = json.loads(by.read_text())
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
