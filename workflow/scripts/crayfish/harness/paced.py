"""An open loop: every segment's events are sent at their intended send times, whatever the system does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from crayfish.harness import probes
from crayfish.harness.parts import START_DEADLINE_S
from crayfish.spec.errors import CrayfishError
from crayfish.spec.waiting import Deadline, wait_until

if TYPE_CHECKING:
    from crayfish.harness.parts import Consumer, Processor, Producer
    from crayfish.harness.run import Run
    from crayfish.spec.run_spec import Segment


def drive(run: Run) -> None:
    """See crayfish.harness.loads."""
    processor, producer, consumer = start(run)
    for number, load in enumerate(run.spec.segments, start=1):
        send_segment(run, load, producer, consumer, f"segment {number}/{len(run.spec.segments)}")
    run.finish(processor, producer, consumer)


def start(run: Run) -> tuple[Processor, Producer, Consumer]:
    """Start everything and prove the path."""
    run.open_broker()
    run.start_server()
    processor = run.start_processor()
    producer = run.start_producer()
    consumer = run.start_consumer()
    probes.send(run.job, run.pool)
    run.await_path(processor)
    producer.await_event("ready")
    consumer.await_event("ready")
    return processor, producer, consumer


def send_segment(run: Run, load: Segment, producer: Producer, consumer: Consumer, title: str) -> None:
    """Send the next segment and wait for its predictions."""
    before = sum(segment["events"] for segment in run.segments)
    start_ns = producer.begin(len(run.segments), load)["start_ns"]
    sent = await_predictions(run, load.warmup_s + load.measure_s, producer, consumer, title)
    run.excluded_s += load.warmup_s + load.measure_s
    run.note_segment(load, start_ns, sent - before)


def await_predictions(run: Run, length_s: float, producer: Producer, consumer: Consumer, title: str) -> int:
    """Wait until a segment of this length is sent and its predictions are there; the events that the run has sent.

    It returns without some of them if none came for the drain's deadline after the last event was sent.
    """
    sent = received = 0
    whole = False  # whether the segment has been sent
    deadline = Deadline(length_s + START_DEADLINE_S)
    rate, rate_since, received_then = 0.0, time.monotonic(), 0

    def all_there() -> bool:
        nonlocal sent, received, whole, rate, rate_since, received_then
        for message in producer.new_messages():
            sent = message.get("sent", sent)
            if message["event"] == "segment_done":
                whole = True
                deadline.extend(run.spec.drain_timeout_s)
        for message in consumer.new_messages():
            received = message.get("distinct", received)
            if message.get("wrong"):
                raise CrayfishError(
                    f"{message['wrong']} predictions are wrong: {run.spec.scorer} in {run.spec.processor}"
                )
        if (passed_s := time.monotonic() - rate_since) >= 1.0:
            rate, rate_since, received_then = (received - received_then) / passed_s, rate_since + passed_s, received
        run.progress(f"{title}: {sent} sent, {rate:.0f} events/s out, backlog {max(0, sent - received)}")
        return whole and received >= sent

    wait_until(all_there, deadline, watch=run.watch)
    if not whole:
        raise producer.failure("did not finish its segment in time")
    return sent
