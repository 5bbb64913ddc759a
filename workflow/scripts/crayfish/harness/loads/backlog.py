"""Saturation: the whole backlog is written before the processor starts, so that the generator costs it nothing."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from crayfish.spec.contracts import Load
from crayfish.spec.waiting import Deadline, wait_until

if TYPE_CHECKING:
    import numpy as np

    from crayfish.harness.clients import Producer
    from crayfish.harness.run import Run
    from crayfish.spec.run_spec import RunSpec, Segment


SLOWEST_EVENTS_PER_S, SLOWEST_BYTES_PER_S = 2000, 20_000_000  # of a producer that writes a backlog
PAUSE_S = 0.25  # between two looks at the output topic, which cost the broker a little


def due(segment: Segment, seed: int) -> np.ndarray:
    """All at once: see crayfish.spec.contracts.Load."""
    from crayfish.harness import pacing

    return (0 * pacing.counted(segment)).astype("int64")


def drive(run: Run) -> None:
    """See crayfish.harness.loads."""
    from crayfish.harness import pacing, sizing

    sizing.require_disk(run, len(pacing.counted(run.spec.segments[0])))
    run.open_broker()
    run.start_server()
    saturate(run)


def saturate(run: Run) -> None:
    """With broker and server up: write the backlog behind a probe a partition, start the processor, drain it."""
    from crayfish.harness import probes

    producer = run.start_producer()
    probes.send(run.job, run.pool)
    producer.await_ready()
    began = time.monotonic()
    events = producer.begin(0)["events"]
    await_backlog(run, producer, events)
    run.excluded_s += time.monotonic() - began
    run.mark("preload")
    run.measure_memory()  # of a producer that may end before the next sample
    producer.end()
    processor = run.start_processor()
    run.await_path(processor)
    began, start_ns = time.monotonic(), time.monotonic_ns() + run.anchor_ns
    drain(run, events)
    run.excluded_s += time.monotonic() - began
    run.mark("drain")
    run.note_segment(run.spec.segments[0], start_ns, events, end_ns=time.monotonic_ns() + run.anchor_ns)
    run.finish(processor, None, None)


def longest_preload_s(spec: RunSpec, events: int) -> float:
    """How long a producer takes at most to write so many events, small or large."""
    return events * max(1 / SLOWEST_EVENTS_PER_S, spec.event_bytes / SLOWEST_BYTES_PER_S)


def await_backlog(run: Run, producer: Producer, events: int) -> None:
    """Wait until the producer has written all events of the backlog."""
    from crayfish.harness.parts import START_DEADLINE_S

    def written() -> bool:
        messages = producer.new_messages()
        for message in messages:
            run.progress(f"writing the backlog: {message.get('sent', 0)} of {events}")
        return any(message["event"] == "segment_done" for message in messages)

    wait_until(
        written,
        START_DEADLINE_S + longest_preload_s(run.spec, events),
        lambda: producer.failure(f"did not write a backlog of {events} events in time"),
        run.watch,
    )


def drain(run: Run, events: int) -> None:
    """Wait until the output topic has grown by all events, or the load's time for that is over.

    A stall as long as the drain's deadline ends the wait, too.
    """
    expected = events + run.spec.partitions  # with the probes
    at_most, stalled = Deadline(run.spec.segments[0].at_most_s or math.inf), Deadline(run.spec.drain_timeout_s)
    most = -1
    first: tuple[float, int] | None = None  # when the output topic was asked for the first time, and what it held

    def drained() -> bool:
        nonlocal most, first
        now, answered = time.monotonic(), sum(run.output_ends())
        first = first or (now, answered)
        if answered > most:
            most = answered
            stalled.extend(run.spec.drain_timeout_s)
        rate = (answered - first[1]) / (now - first[0]) if now > first[0] else 0.0
        run.progress(f"draining: {rate:.0f} events/s, backlog {max(0, expected - answered)}")
        return answered >= expected or at_most.passed

    wait_until(drained, stalled, watch=run.watch, pause_s=PAUSE_S)


LOAD = Load(due=due, drive=drive, positive=(), fractions=False, alone=True, saturated=True)
