"""An open-loop load: every segment's events are sent when they are due, whatever the system does."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING

from crayfish.harness import probes
from crayfish.harness.run import START_DEADLINE_S
from crayfish.spec.errors import CrayfishError

if TYPE_CHECKING:
    from crayfish.harness.run import Run
    from crayfish.harness.stages import Stage
    from crayfish.spec.run_spec import Segment


def drive(run: Run) -> None:
    """See crayfish.harness.loads."""
    processor, producer, consumer = start(run)
    for number, load in enumerate(run.spec.segments, start=1):
        send_segment(run, load, producer, consumer, f"segment {number}/{len(run.spec.segments)}")
    run.finish(processor, producer, consumer)


def start(run: Run) -> tuple[Stage, Stage, Stage]:
    """Start everything and prove the path; processor, producer and consumer."""
    run.open_broker()
    run.start_server()
    processor = run.start_processor()
    producer = run.start_client("producer")
    consumer = run.start_client("consumer")
    probes.send(run.job, run.pool)
    run.await_path(processor)
    for stage in (producer, consumer):
        stage.wait_for("ready", START_DEADLINE_S, run.watch)
    return processor, producer, consumer


def send_segment(run: Run, load: Segment, producer: Stage, consumer: Stage, title: str) -> None:
    """Send the next segment and wait for its predictions."""
    before = sum(segment["events"] for segment in run.segments)
    producer.send(segment=len(run.segments), load=vars(load))
    start_ns = producer.wait_for("segment_started", START_DEADLINE_S, run.watch)["start_ns"]
    sent = _follow(run, load.warmup_s + load.measure_s, producer, consumer, title)
    run.excluded_s += load.warmup_s + load.measure_s
    run.note_segment(load, start_ns, sent - before)


def _follow(run: Run, length_s: float, producer: Stage, consumer: Stage, title: str) -> int:
    """Watch a segment until its predictions are there or the drain's deadline passes; the events sent so far."""
    sent = received = previous = 0
    rate_since, rate = time.monotonic(), 0.0
    end = time.monotonic() + length_s + START_DEADLINE_S
    done = False
    while not (done and received >= sent):
        run.watch()
        for message in producer.drain():
            sent = message.get("sent", sent)
            if message["event"] == "segment_done":
                done, end = True, time.monotonic() + run.spec.drain_timeout_s
        for message in consumer.drain():
            received = message.get("distinct", received)
            if message.get("wrong"):
                raise CrayfishError(
                    f"{message['wrong']} predictions are wrong: {run.spec.scorer} in {run.spec.processor}"
                )
        now = time.monotonic()
        if now - rate_since >= 1.0:
            rate, previous, rate_since = (received - previous) / (now - rate_since), received, now
        run.progress(f"{title}: {sent} sent, {rate:.0f} events/s out, backlog {max(0, sent - received)}")
        if now > end:
            if not done:
                raise producer.failure("did not finish its segment in time")
            break
        select.select([], [], [], 0.02)
    return sent
