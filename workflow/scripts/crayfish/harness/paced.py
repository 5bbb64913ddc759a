"""An open loop: every segment's events are sent at their intended send times, whatever the system does."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crayfish.harness import pacing, probes, sizing
from crayfish.harness.parts import START_DEADLINE_S
from crayfish.harness.steadiness import Warmup
from crayfish.spec.errors import CrayfishError
from crayfish.spec.waiting import Deadline, wait_until

if TYPE_CHECKING:
    from crayfish.harness.clients import Consumer, Producer
    from crayfish.harness.parts import Processor
    from crayfish.harness.run import Run
    from crayfish.spec.run_spec import RunSpec, Segment

PAUSE_S = 0.05  # between two looks at what the clients report


@dataclass(frozen=True)
class Progress:
    """How a segment goes on: s since its start, how many of its events were sent and answered so far, and of those
    that were answered since the last report how many there are and their median latency (ms; None if there are none).
    """

    seconds: float
    sent: int
    received: int
    answered: int
    latency_ms: float | None


def drive(run: Run) -> None:
    """See crayfish.harness.loads."""
    sizing.require_disk(run, most_events(run.spec))
    processor, producer, consumer = start(run)
    for number, load in enumerate(run.spec.segments, start=1):
        send_segment(run, load, producer, consumer, f"segment {number}/{len(run.spec.segments)}")
    run.finish(processor, producer, consumer)


def most_events(spec: RunSpec) -> int:
    """How many events a paced run sends at most: those of the longest warm-ups, too."""
    loads = [dataclasses.replace(load, warmup_s=load.longest_warmup_s) for load in spec.segments]
    return sum(len(pacing.due_offsets(load, spec.seed + number)) for number, load in enumerate(loads))


def start(run: Run) -> tuple[Processor, Producer, Consumer]:
    """Start everything and prove the path."""
    run.open_broker()
    run.start_server()
    processor = run.start_processor()
    producer = run.start_producer()
    consumer = run.start_consumer()
    probes.send(run.job, run.pool)
    run.await_path(processor)
    producer.await_ready()
    consumer.await_ready()
    return processor, producer, consumer


def send_segment(
    run: Run,
    load: Segment,
    producer: Producer,
    consumer: Consumer,
    title: str,
    *,
    steady: bool = True,
    cut: Callable[[Progress], bool] | None = None,
    begun: Callable[[int], None] = lambda start_ns: None,
) -> bool:
    """Send the next segment and wait for its predictions.

    steady: whether the warm-up is extended while the system still gets faster (Segment.longest_warmup_s). cut: is asked
    at each report of the sink; once it answers True, no event is sent any more that is not yet due, and this function
    returns True after the predictions for those that were sent, or after the drain's deadline. begun: is told when the
    segment starts, ns of the run's clock.
    """
    before = sum(segment["events"] for segment in run.segments)
    most_s = load.longest_warmup_s if steady else load.warmup_s
    warmup = Warmup(load.warmup_s, most_s, load.rate)
    most_s = most_s if warmup.ends_s is None else warmup.ends_s
    start_ns = producer.begin(len(run.segments), dataclasses.replace(load, warmup_s=most_s))["start_ns"]
    begun(start_ns)
    was_cut, ended = False, most_s == load.warmup_s

    def told(at_ns: int, sent: int, received: int, answered: int, latency_ms: float | None) -> None:
        nonlocal was_cut, ended
        seconds = (at_ns - start_ns) / 1e9
        if was_cut or seconds <= 0:
            return
        progress = Progress(seconds, sent - before, received - before, answered, latency_ms)
        if cut is not None and cut(progress):
            was_cut = True
            producer.send(end_ns=0)
        elif not ended:
            warmup.add(seconds, answered, latency_ms)
            if warmup.ends_s is not None:
                ended = True
                producer.send(end_ns=start_ns + int((warmup.ends_s + load.measure_s) * 1e9))

    sent, end_ns = await_predictions(run, most_s + load.measure_s, producer, consumer, title, told)
    warmup_s = most_s if warmup.ends_s is None else warmup.ends_s
    if not warmup.steady:
        run.warnings.append(
            f"segment {len(run.segments) + 1}: still getting faster after a warm-up of {warmup_s:.0f} s: raise"
            " load.warmup_s or load.warmup_at_most_s"
        )
    run.excluded_s += (end_ns - start_ns) / 1e9
    run.note_segment(load, start_ns, sent - before, end_ns, extended_s=round(warmup_s - load.warmup_s, 3))
    return was_cut


def await_predictions(
    run: Run,
    length_s: float,
    producer: Producer,
    consumer: Consumer,
    title: str,
    told: Callable[[int, int, int, int, float | None], None] = lambda *_: None,
) -> tuple[int, int]:
    """Wait until a segment of at most this length is sent and its predictions are there.

    Returns how many events the run has sent, and when the segment ended (wall clock, ns). It returns without some
    predictions if none came for the drain's deadline after the last event was sent. `told` gets each report of the
    sink: when, how many events the run has sent and received so far, how many were answered since the last report, and
    their median latency, ms.
    """
    sent = received = end_ns = 0
    whole = False  # whether the segment has been sent
    deadline = Deadline(length_s + START_DEADLINE_S)
    rate, rate_since, received_then = 0.0, time.monotonic(), 0

    def all_there() -> bool:
        nonlocal sent, received, whole, end_ns, rate, rate_since, received_then
        for message in producer.new_messages():
            sent = message.get("sent", sent)
            if message["event"] == "segment_done":
                whole, end_ns = True, message.get("end_ns", 0)
                deadline.extend(run.spec.drain_timeout_s)
        for message in consumer.new_messages():
            received = message.get("distinct", received)
            if message.get("wrong"):
                raise CrayfishError(
                    f"{message['wrong']} predictions are wrong: {run.spec.scorer} in {run.spec.processor}"
                )
            if not whole and "at_ns" in message:
                told(message["at_ns"], sent, received, message["answered"], message["latency_ms"])
        if (passed_s := time.monotonic() - rate_since) >= 1.0:
            rate, rate_since, received_then = (received - received_then) / passed_s, rate_since + passed_s, received
        run.progress(f"{title}: {sent} sent, {rate:.0f} events/s out, backlog {max(0, sent - received)}")
        return whole and received >= sent

    wait_until(all_there, deadline, watch=run.watch, pause_s=PAUSE_S)
    if not whole:
        raise producer.failure("did not finish its segment in time")
    return sent, end_ns
