"""Saturation: the whole backlog is written before the processor starts, so that the generator costs it nothing."""

from __future__ import annotations

import select
import shutil
import time
from typing import TYPE_CHECKING

from crayfish.spec.contracts import Load
from crayfish.spec.errors import CrayfishError

if TYPE_CHECKING:
    import numpy as np

    from crayfish.harness.run import Run
    from crayfish.harness.stages import Stage
    from crayfish.spec.run_spec import Segment


def due(segment: Segment, seed: int) -> np.ndarray:
    """All at once: see crayfish.spec.contracts.Load."""
    from crayfish.harness import pacing

    return (0 * pacing.counted(segment)).astype("int64")


def drive(run: Run) -> None:
    """See crayfish.harness.loads."""
    _check_disk(run)
    run.open_broker()
    run.start_server()
    saturate(run)


def saturate(run: Run) -> None:
    """With broker and server up: write the backlog behind a probe a partition, start the processor, drain it."""
    from crayfish.harness import probes
    from crayfish.harness.run import START_DEADLINE_S

    producer = run.start_client("producer")
    probes.send(run.job, run.pool)
    producer.wait_for("ready", START_DEADLINE_S, run.watch)
    began = time.monotonic()
    producer.send(segment=0)
    events = producer.wait_for("segment_started", START_DEADLINE_S, run.watch)["events"]
    _preload(run, producer, events)
    run.excluded_s += time.monotonic() - began
    run.mark("preload")
    run.end_producer(producer)
    processor = run.start_processor()
    run.await_path(processor)
    began, start_ns = time.monotonic(), time.monotonic_ns() + run.anchor_ns
    _drain(run, events)
    run.excluded_s += time.monotonic() - began
    run.mark("drain")
    run.note_segment(run.spec.segments[0], start_ns, events, end_ns=time.monotonic_ns() + run.anchor_ns)
    run.finish(processor, None, None)


def _check_disk(run: Run) -> None:
    load = run.spec.segments[0]
    need = int(1.2 * (run.spec.event_bytes + 200) * load.rate * (load.warmup_s + load.measure_s))
    free = shutil.disk_usage(run.folder).free
    if free < need:
        raise CrayfishError(
            f"the backlog needs {need / 1e9:.1f} GB in {run.folder.parent}, {free / 1e9:.1f} GB are free:"
            " make room, set TMPDIR to another disk, or lower load.measure_s"
        )


def _preload(run: Run, producer: Stage, events: int) -> None:
    from crayfish.harness.run import START_DEADLINE_S

    end = time.monotonic() + START_DEADLINE_S + events / 2000
    while True:
        run.watch()
        for message in producer.drain():
            run.progress(f"writing the backlog: {message.get('sent', 0)} of {events}")
            if message["event"] == "segment_done":
                return
        if time.monotonic() > end:
            raise producer.failure(f"did not write a backlog of {events} events in time")
        select.select([], [], [], 0.02)


def _drain(run: Run, events: int) -> None:
    """Until the output topic has grown by all events, or the load's time for that is over.

    A stall as long as the drain's deadline ends the wait, too.
    """
    expected, at_most_s = events + run.spec.partitions, run.spec.segments[0].at_most_s
    end = time.monotonic() + (at_most_s or float("inf"))
    done, since, rate_from = -1, time.monotonic(), None
    while done < expected and time.monotonic() < end:
        run.watch()
        now, new = time.monotonic(), sum(run.output_ends())
        rate_from = rate_from or (now, new)
        if new > done:
            done, since = new, now
        elif now - since > run.spec.drain_timeout_s:
            return
        rate = (new - rate_from[1]) / (now - rate_from[0]) if now > rate_from[0] else 0.0
        run.progress(f"draining: {rate:.0f} events/s, backlog {max(0, expected - new)}")
        select.select([], [], [], 0.25)


LOAD = Load(due=due, drive=drive, positive=(), fractions=False, alone=True, saturated=True)
