"""The load generator: a process that sends each event when it is due, whatever the system under test does (open loop).

`python -m crayfish.harness.producer --job FILE --reference NPZ --anchor NS --out PARQUET`. It obeys JSON lines on its
standard input: {"anchor_ns": n} replaces --anchor where the node has another clock; {"segment": k, "first": s} prepares
the k-th segment of the RunSpec, or with "load": {...} this one in its place, whose first event has the sequence number
s; {"start_ns": t} then sends it from time t (by the wall clock) on. It reports progress and, when the broker has all of
the segment, segment_done; {"end_ns": t} meanwhile sends nothing more that is due at t or later and not sent yet;
{"write": true} writes the table of all events so far, and so does the end of the input, which ends it. Of several
generators (--member of --members) each sends, and knows, the events of its share of the partitions.

The table: sequence, segment, due_ns, sent_ns (when it was handed to Kafka's client), input_append_ms (the broker's
LogAppendTime, truncated to 1 ms, read from the input topic; -1 where the load is saturated: it is not read), partition.
"""

import argparse
import ctypes
import gc
import json
import queue
import sys
import threading
import time
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from crayfish.engine import child, kafka
from crayfish.harness import clocks, pacing
from crayfish.spec import errors
from crayfish.spec.errors import CrayfishError
from crayfish.spec.events import codec_of
from crayfish.spec.run_spec import MAX_MESSAGE_BYTES, Job, Segment
from crayfish.spec.waiting import Deadline

PR_SET_TIMERSLACK = 29
LONGEST_SLEEP_NS = 50_000_000  # after which it looks for commands again
AT_ONCE = pacing.MOST_TOGETHER  # events between two polls of the client, however many are due
TOGETHER_NS = int(pacing.TOGETHER_S * 1e9)
PROGRESS_NS = 500_000_000
FLUSH_DEADLINE_S = 60.0  # for the broker to take what it was sent, or to give any of it back
QUEUE_KB = 256 * 1024  # that the client holds at most, before sending waits
READ_AT_ONCE = 10_000  # events of the input topic


def event_bodies(codec, pool: np.ndarray, batch_size: int) -> list[bytes]:
    """The bodies that events cycle through: event s holds the pool's images (s * batch_size + i) % len(pool)."""
    starts, start = [], 0
    while start not in starts:
        starts.append(start)
        start = (start + batch_size) % len(pool)
    return [codec.encode_body(pool[np.arange(start, start + batch_size) % len(pool)]) for start in starts]


def sleep_precisely() -> None:
    """Let the kernel wake this process when a sleep is over, and not up to 50 us later to save wake-ups (Linux)."""
    if ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0):
        raise CrayfishError("producer: the kernel refuses a timer slack of 1 ns (prctl PR_SET_TIMERSLACK)")


@dataclass(frozen=True)
class Events:
    """A segment's events: the bodies that those of so many data points cycle through, and each one's partition, and
    when it is due and sent."""

    index: int
    load: Segment
    bodies: dict[int, list[bytes]]
    sequence: np.ndarray
    partition: np.ndarray
    due: np.ndarray
    sent: np.ndarray

    def first(self, count: int) -> "Events":
        """Those that were sent of a load that was ended early."""
        arrays = (self.sequence, self.partition, self.due, self.sent)
        sequence, partition, due, sent = (array[:count].copy() for array in arrays)
        return replace(self, sequence=sequence, partition=partition, due=due, sent=sent)


class Generator:
    """Sends segments and keeps when each event was due and sent."""

    def __init__(
        self,
        job: Job,
        pool: np.ndarray,
        anchor_ns: int,
        report,
        commands: "queue.SimpleQueue[dict | None]",
        share: range | None = None,
    ):
        """share: the partitions whose events it sends; None: all."""
        self._job, self._pool, self.anchor_ns, self._report = job, pool, anchor_ns, report
        self._commands, self._share = commands, share or range(job.spec.partitions)
        self._codec = codec_of(job)
        self._segments: list[Events] = []
        self._count = 0  # of the events sent so far
        self._error: KafkaError | None = None
        self._complaint = ""  # what the client said last of a broker that it cannot reach
        self._appends = None if job.spec.saturated else Appends(job, self._share)
        settings = {
            **kafka.librdkafka_broker(job),
            "enable.idempotence": True,  # keeps a partition's order, by which append times find their event
            "linger.ms": 5 if job.spec.saturated else 0,
            "batch.size": 1_000_000,
            "message.max.bytes": MAX_MESSAGE_BYTES,
            "queue.buffering.max.messages": 200_000,
            "queue.buffering.max.kbytes": QUEUE_KB,
            "socket.nagle.disable": True,
            "delivery.report.only.error": True,  # a call of Python an event would be most of the generator's cost
            "on_delivery": self._refused,
            "error_cb": self._complained,
            "log_level": 3,
        }
        kafka.record(job, "generator", kafka.librdkafka_effective(settings))
        self._producer = Producer(settings)

    def _refused(self, error: KafkaError | None, message: object) -> None:
        self._error = self._error or error

    def _complained(self, error: KafkaError) -> None:
        self._complaint = error.str()

    def _check(self) -> None:
        if self._error is not None:
            raise CrayfishError(f"producer: the broker refused an event: {self._error.str()}")

    def _make_room(self) -> None:
        """Wait until the client's queue has room; CrayfishError if the broker takes nothing for FLUSH_DEADLINE_S."""
        held, deadline = len(self._producer), Deadline(FLUSH_DEADLINE_S)
        while len(self._producer) >= held:
            self._producer.poll(0.001)
            self._check()
            if deadline.passed:
                raise CrayfishError(
                    f"producer: the broker took no event for {FLUSH_DEADLINE_S:g} s, {held} wait ({self._complaint})"
                )

    def segment(self, index: int, load: Segment, first: int) -> None:
        """Prepare a segment, send it when it is told to, and wait until the broker has all of it. first: the sequence
        number of its first event."""
        offsets = pacing.due_offsets(load, seed=self._job.spec.seed + index)
        if self._appends:
            self._appends.begin()
        partition = pacing.partitions_of(load, len(offsets), self._job.spec.partitions)
        own = np.flatnonzero(np.isin(partition, self._share))
        points = pacing.points_of(load, len(offsets))[own]
        bodies = {size: event_bodies(self._codec, self._pool, size) for size in np.unique(points).tolist()}
        self._report(event="prepared", segment=index)
        if (told := self._commands.get()) is None:
            raise CrayfishError("producer: it was told to stop before it sends a segment")
        start_ns = int(told["start_ns"])
        end_ns = start_ns + int((load.warmup_s + load.measure_s) * 1e9)
        due = offsets[own] + start_ns
        events = Events(index, load, bodies, first + own, partition[own], due, np.zeros(len(due), np.int64))
        self._report(event="segment_started", segment=index, events=len(due), start_ns=start_ns)
        if load.saturated:
            self._send_backlog(events, points.tolist())
            end_ns = time.monotonic_ns() + self.anchor_ns
        else:
            count, end_ns = self._send_paced(events, points.tolist(), end_ns)
            events = events.first(count)
        left = self._producer.flush(FLUSH_DEADLINE_S)
        self._check()
        if left:
            raise CrayfishError(
                f"producer: the broker did not take {left} events within {FLUSH_DEADLINE_S:g} s ({self._complaint})"
            )
        self._segments.append(events)
        self._count += len(events.due)
        after = int(events.sequence[-1]) + 1 if len(events.due) else first
        self._report(event="segment_done", segment=index, sent=self._count, end_ns=int(end_ns), next=after)

    def _send_paced(self, events: Events, points: list[int], end_ns: int) -> tuple[int, int]:
        """Send what is due until end_ns or, if that is sooner, until a command ends it.

        Events that go together are sent when the last of them is due, or TOGETHER_NS after the first was. Returns how
        many events were sent, and when the segment ended.
        """
        load, bodies, sent, stamp = events.load, events.bodies, events.sent, self._codec.stamp
        size, partitions = pacing.together(load, self._job.spec.partitions), events.partition.tolist()
        monotonic, sleep, anchor, before = time.monotonic_ns, time.sleep, self.anchor_ns, self._count
        sequences = events.sequence.tolist()
        topic, produce, poll = self._job.input_topic, self._producer.produce, self._producer.poll
        dues, position, next_report = events.due.tolist(), 0, 0
        end = len(dues)
        while True:
            now = monotonic() + anchor
            until = min(bisect_right(dues, now, position, end), position + AT_ONCE)
            if position < until < end and now < dues[position] + TOGETHER_NS:
                until = max(position, until - until % size)
            for place in range(position, until):
                sequence, count = sequences[place], points[place]
                body = bodies[count]
                value = stamp(body[sequence % len(body)], count, sequence, dues[place])
                sent[place] = monotonic() + anchor
                while True:
                    try:
                        produce(topic, value, partition=partitions[place])
                        break
                    except BufferError:
                        self._make_room()
            position = until
            poll(0)
            if now > next_report:
                self._check()
                self._report(event="progress", segment=events.index, sent=before + position)
                next_report = now + PROGRESS_NS
            if not self._commands.empty():
                told = self._commands.get()
                if told is None or "end_ns" not in told:
                    raise CrayfishError("producer: it was told to stop while it sends a segment")
                end = max(position, bisect_left(dues, told["end_ns"], 0, end))
                # A command that came late, or a cut, ends the segment with what was sent.
                end_ns = max(told["end_ns"], dues[position - 1] + 1 if position else 0)
                end_ns = end_ns if told["end_ns"] else max(end_ns, now)
            if position >= end and now >= end_ns:
                return end, end_ns
            last = min(position - position % size + size, end) - 1  # of those that go together next
            wake_ns = min(dues[last], dues[position] + TOGETHER_NS) if position < end else end_ns
            wait_ns = wake_ns - anchor - monotonic()
            if wait_ns > 0:
                sleep(min(wait_ns, LONGEST_SLEEP_NS) / 1e9)

    def _send_backlog(self, events: Events, points: list[int]) -> None:
        bodies, sent, stamp = events.bodies, events.sent, self._codec.stamp
        monotonic, anchor = time.monotonic_ns, self.anchor_ns
        topic, produce = self._job.input_topic, self._producer.produce
        columns = (events.sequence.tolist(), events.partition.tolist(), events.due.tolist(), points)
        for position, (sequence, number, due_ns, count) in enumerate(zip(*columns, strict=True)):
            body = bodies[count]
            value = stamp(body[sequence % len(body)], count, sequence, due_ns)
            sent[position] = monotonic() + anchor
            while True:
                try:
                    produce(topic, value, partition=number)
                    break
                except BufferError:
                    self._make_room()
            if position % AT_ONCE == 0:
                self._producer.poll(0)
                if position % 5000 == 0:
                    self._check()
                    self._report(event="progress", segment=events.index, sent=position)

    def write(self, path: Path) -> None:
        """The table of every event; CrayfishError if the input topic does not hold exactly what was sent."""
        columns: dict[str, np.ndarray] = {
            "segment": np.concatenate([np.full(len(each.due), each.index, np.int16) for each in self._segments]),
            "due_ns": np.concatenate([each.due for each in self._segments]),
            "sent_ns": np.concatenate([each.sent for each in self._segments]),
        }
        sequence = np.concatenate([each.sequence for each in self._segments])
        partition = np.concatenate([each.partition for each in self._segments])
        appended = np.full(self._count, -1, np.int64)
        if self._appends:
            for number, times in self._appends.read().items():
                wanted = partition == number
                if len(times) != (expected := int(wanted.sum())):
                    raise CrayfishError(
                        f"producer: partition {number} of the input topic holds {len(times)} events of {expected} that"
                        f" were sent: the broker lost or repeated some ({self._complaint or 'it reported no error'})"
                    )
                appended[wanted] = times
        columns |= {"sequence": sequence, "partition": partition, "input_append_ms": appended}
        order = ["sequence", "segment", "due_ns", "sent_ns", "input_append_ms", "partition"]
        pq.write_table(pa.table({name: columns[name] for name in order}), path)


class Appends:
    """When the broker appended the events to the input topic: read from it, after they were sent."""

    def __init__(self, job: Job, share: range):
        """share: the partitions that are read."""
        self._job, self._share = job, share
        self._times: dict[int, list[np.ndarray]] = {number: [] for number in share}
        self._positions: dict[int, int] = {}  # up to where each partition was read

    def _consumer(self) -> Consumer:
        return Consumer(
            {
                **kafka.librdkafka_broker(self._job),
                "group.id": f"{self._job.group}-appends",
                "enable.auto.commit": False,
                "fetch.queue.backoff.ms": 1,
                "receive.message.max.bytes": 2 * MAX_MESSAGE_BYTES,
                "log_level": 3,
            }
        )

    def _ends(self, consumer: Consumer) -> dict[int, int]:
        topic = self._job.input_topic
        return {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=30)[1]
            for number in self._share
        }

    def begin(self) -> None:
        """Before the first event: what lies in the topic already is no event of a segment, but a probe."""
        if not self._positions:
            consumer = self._consumer()
            try:
                self._positions = self._ends(consumer)
            except KafkaException as error:
                raise CrayfishError(f"producer: the broker: {error.args[0].str()}") from error
            finally:
                consumer.close()

    def read(self) -> dict[int, np.ndarray]:
        """Of each partition, when its events were appended, in their order: int64, ms."""
        consumer = self._consumer()
        try:
            self._read_on(consumer)
        except KafkaException as error:
            raise CrayfishError(f"producer: the input topic cannot be read: {error.args[0].str()}") from error
        finally:
            consumer.close()
        return {number: np.concatenate([np.zeros(0, np.int64), *times]) for number, times in self._times.items()}

    def _read_on(self, consumer: Consumer) -> None:
        topic, ends, deadline = self._job.input_topic, self._ends(consumer), Deadline(FLUSH_DEADLINE_S)
        behind = {number for number, end in ends.items() if self._positions[number] < end}
        consumer.assign([TopicPartition(topic, number, self._positions[number]) for number in behind])
        while behind:
            found: dict[int, list[int]] = {}
            first = consumer.poll(1.0)
            for message in [first, *consumer.consume(READ_AT_ONCE, 0)] if first else ():
                if message.error():
                    raise KafkaException(message.error())
                partition, offset = message.partition(), message.offset()
                assert partition is not None and offset is not None  # every message that was read has both
                found.setdefault(partition, []).append(message.timestamp()[1])
                self._positions[partition] = offset + 1
            for number, times in found.items():
                self._times[number].append(np.array(times, np.int64))
                if self._positions[number] >= ends[number]:
                    behind.discard(number)
            if found:
                deadline.extend(FLUSH_DEADLINE_S)
            elif deadline.passed:
                raise CrayfishError(f"producer: the input topic could not be read to its end in {FLUSH_DEADLINE_S:g} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--anchor", type=int, required=True, help="wall clock minus monotonic clock, ns")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--member", type=int, default=0, help="which of several generators this is, from 0")
    parser.add_argument("--members", type=int, default=1, help="how many there are")
    arguments = parser.parse_args()
    report = child.reporter()
    sleep_precisely()
    with np.load(arguments.reference) as reference:
        pool = reference["inputs"]
    job = Job.read(arguments.job)
    commands: queue.SimpleQueue[dict | None] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            commands.put(json.loads(line))
        commands.put(None)

    share = range(arguments.member, job.spec.partitions, arguments.members)
    generator = Generator(job, pool, arguments.anchor, report, commands, share)
    threading.Thread(target=listen, daemon=True).start()
    gc.disable()  # nothing here makes cycles, and a collection would delay an event
    report(event="ready", clock=clocks.answer() if child.HOST != child.LOOPBACK else None)
    while (command := commands.get()) is not None:
        if "segment" in command:
            number = command["segment"]
            load = Segment(**command["load"]) if "load" in command else job.spec.segments[number]
            generator.segment(number, load, command["first"])
        elif "anchor_ns" in command:
            generator.anchor_ns = command["anchor_ns"]
        elif "write" in command:
            generator.write(arguments.out)
            report(event="written")
    generator.write(arguments.out)
    report(event="written")


if __name__ == "__main__":
    errors.main(main)
