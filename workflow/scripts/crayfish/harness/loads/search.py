"""The search for the sustainable rate: bursts that warm up, then paced probes, each a segment; see
crayfish.harness.search."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crayfish.harness.loads.constant import due
from crayfish.spec.contracts import Load
from crayfish.spec.errors import CrayfishError
from crayfish.spec.waiting import Deadline, wait_until

if TYPE_CHECKING:
    import numpy as np

    from crayfish.harness import search
    from crayfish.harness.clients import Consumer, Producer
    from crayfish.harness.paced import Progress
    from crayfish.harness.run import Run

AT_ONCE_S = 0.001  # all events of a burst are due within that
log = logging.getLogger("crayfish")


@dataclass(frozen=True)
class Answers:
    """What became of a segment's events, int[n] each, in order of due time; and whether it was cut off, or not drained
    in time."""

    partition: np.ndarray
    due_ns: np.ndarray
    received_ns: np.ndarray
    output_append_ms: np.ndarray
    cut: bool


def drive(run: Run) -> None:
    """See crayfish.harness.loads. What was found is in run.search, with the number of the segment that is shown."""
    from crayfish.harness import paced

    processor, producer, consumer = paced.start(run)
    began = time.monotonic()
    bursts = _warm_up(run, producer, consumer)
    probes = _probe(run, producer, consumer, bursts[-1].rate)
    run.excluded_s = time.monotonic() - began  # bursts and drains are load, too
    run.finish(processor, producer, consumer)
    _conclude(run, bursts, probes)


def _warm_up(run: Run, producer: Producer, consumer: Consumer) -> list[search.Burst]:
    """Send bursts and drain each, until they are drained no faster."""
    from crayfish.harness import search, sizing
    from crayfish.spec import memory

    bursts: list[search.Burst] = []
    size, partitions = run.spec.event_bytes, run.spec.partitions
    most = sizing.MEMORY_SHARE * memory.available()
    while events := search.next_burst(bursts, size, partitions, most):
        answers = _answers(run, producer, consumer, events / AT_ONCE_S, 0.0, AT_ONCE_S, "warming up")
        bursts.append(search.drained(answers.due_ns, answers.output_append_ms, answers.partition))
        log.info("%s  a burst of %d events: %.4g events/s", run.places.title, events, bursts[-1].rate)
    return bursts


def _probe(run: Run, producer: Producer, consumer: Consumer, capacity: float) -> list[search.Probe]:
    """Probe for as long as the search may take, at least once."""
    from crayfish.harness import search

    load = run.spec.segments[0]
    objectives, began = search.objectives(load.objective_ms), time.monotonic()
    probes: list[search.Probe] = []
    while not probes or time.monotonic() - began < load.search_s:
        rate = search.next_rate(probes, capacity, objectives)
        seen: list[tuple[float, int]] = []

        def cut(progress: Progress, seen: list[tuple[float, int]] = seen) -> bool:
            if progress.latency_ms is not None:
                seen.append((progress.latency_ms, progress.sent - progress.received))
            return search.climbs(max(objectives), seen)

        title = f"probing {rate:.4g} events/s"
        answers = _answers(run, producer, consumer, rate, load.warmup_s, load.measure_s, title, cut)
        start_ns = run.segments[-1]["load_start_ns"]
        probes.append(
            search.judge(rate, answers.due_ns, answers.received_ns, answers.output_append_ms, start_ns, answers.cut)
        )
        log.info("%s  %.4g events/s %s", run.places.title, rate, probes[-1].told(load.objective_ms))
    return probes


def _answers(
    run: Run,
    producer: Producer,
    consumer: Consumer,
    rate: float,
    warmup_s: float,
    measure_s: float,
    title: str,
    cut: Callable[[Progress], bool] | None = None,
) -> Answers:
    """Send a segment, wait for its predictions, and read them.

    What is not drained in time is waited for as long as predictions come; CrayfishError where none come any more.
    """
    import numpy as np
    import pyarrow.parquet as pq

    from crayfish.harness import paced, pacing, sizing
    from crayfish.spec.run_spec import Segment

    load = Segment("constant", rate, run.spec.segments[0].batch_size, warmup_s, measure_s)
    due = pacing.due_offsets(load, run.spec.seed)
    sizing.require_disk(run, len(due))
    was_cut = paced.send_segment(run, load, producer, consumer, title, steady=False, cut=cut)
    segment, first = run.segments[-1], sum(segment["events"] for segment in run.segments[:-1])
    partition = pacing.partitions_of(load, len(due), run.spec.partitions)[: segment["events"]]
    due, in_time = due[: segment["events"]] + segment["start_ns"], True
    while True:
        consumer.write()
        table = pq.read_table(run.folder / "consumer.parquet")
        place = table["sequence"].to_numpy() - first
        rows = np.flatnonzero(place >= 0)[::-1]  # backwards, so that of duplicates the first one stays
        received, appended = np.full((2, len(due)), -1)
        received[place[rows]] = table["received_ns"].to_numpy()[rows]
        appended[place[rows]] = table["output_append_ms"].to_numpy()[rows]
        if (received >= 0).all():
            return Answers(partition, due, received, appended, was_cut or not in_time)
        in_time = False
        _await_rest(run, consumer, first + len(due), title)


def _await_rest(run: Run, consumer: Consumer, sent: int, title: str) -> None:
    """Wait for the predictions of so many events as long as any come; CrayfishError after the drain's deadline
    without one."""
    received, deadline = 0, Deadline(run.spec.drain_timeout_s)

    def all_there() -> bool:
        nonlocal received
        for message in consumer.new_messages():
            if message.get("distinct", 0) > received:
                received = message["distinct"]
                deadline.extend(run.spec.drain_timeout_s)
        run.progress(f"{title}: {sent - received} are not answered yet")
        return received >= sent

    wait_until(
        all_there,
        deadline,
        lambda: CrayfishError(
            f"{title}: {run.spec.processor} answered nothing for {run.spec.drain_timeout_s:g} s, {sent - received}"
            f" events are left, which violates {run.spec.delivery}; if it was only slow, raise run.drain_timeout_s"
        ),
        run.watch,
    )


def _conclude(run: Run, bursts: list[search.Burst], probes: list[search.Probe]) -> None:
    """Note what was found, with the events that the generator sent late, which the whole run's table tells."""
    import pyarrow.parquet as pq

    from crayfish.harness import search
    from crayfish.spec import metrics

    table = pq.read_table(run.folder / "producer.parquet", columns=["segment", "due_ns", "input_append_ms"])
    segment, due_ns, appended = (table[name].to_numpy() for name in table.column_names)
    late_ms, judged = metrics.lateness_ms(due_ns, appended), []
    for number, probe in enumerate(probes, start=len(bursts)):
        measured = (segment == number) & (due_ns >= run.segments[number]["load_start_ns"])
        share = None
        if late_ms is not None and measured.any():
            share = metrics.late_share(late_ms[measured], run.spec.lateness_bound_ms)
        judged.append(dataclasses.replace(probe, late_share=share))
    objective_ms = run.spec.segments[0].objective_ms
    found = search.result(judged, bursts, objective_ms)
    run.warnings += search.warnings_of(judged, found, objective_ms)
    run.search = {**found, "segment": len(bursts) + found["shown"]}


LOAD = Load(
    due=due,
    drive=drive,
    positive=("objective_ms", "search_s"),
    fractions=False,
    alone=True,
    searches=True,
)
