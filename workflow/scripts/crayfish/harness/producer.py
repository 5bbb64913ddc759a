"""The load generator: a process that sends each event when it is due, whatever the system under test does (open loop).

`python -m crayfish.harness.producer --job FILE --reference NPZ --anchor NS --out PARQUET`. It obeys JSON lines on its
standard input: {"segment": k} sends the k-th segment of the RunSpec, or {"segment": k, "load": {...}} this one in its
place, and reports progress and, when the broker has all of it, segment_done; {"write": true} writes the table of all
events so far, and so does the end of the input, which ends it: sequence, segment, due_ns, sent_ns, input_append_ms
(the broker's LogAppendTime, truncated to 1 ms), partition.
"""

import argparse
import json
import sys
import time
from array import array
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import KafkaError, Producer

from crayfish.engine import child
from crayfish.harness import pacing
from crayfish.spec import errors
from crayfish.spec.errors import CrayfishError
from crayfish.spec.events import CODECS
from crayfish.spec.run_spec import MAX_MESSAGE_BYTES, Job, Segment

SPIN_NS = 200_000  # sleep until this long before an event is due, then spin: the kernel's wake-up is late by less
LEAD_NS = 200_000_000  # from the command to the first event of a segment
PROGRESS_NS = 500_000_000
FLUSH_DEADLINE_S = 60.0


def event_bodies(codec, pool: np.ndarray, batch_size: int) -> list[bytes]:
    """The bodies that events cycle through: event s holds the pool's images (s * batch_size + i) % len(pool)."""
    starts, start = [], 0
    while start not in starts:
        starts.append(start)
        start = (start + batch_size) % len(pool)
    return [codec.encode_body(pool[np.arange(start, start + batch_size) % len(pool)]) for start in starts]


class Generator:
    """Sends segments and keeps what happened to every event."""

    def __init__(self, job: Job, pool: np.ndarray, anchor_ns: int, report):
        self._job, self._pool, self._anchor_ns, self._report = job, pool, anchor_ns, report
        self._codec = CODECS[job.spec.codec](job.input_shape, job.outputs)
        self._segments: list[tuple[int, np.ndarray, np.ndarray]] = []  # segment, due, sent
        self._appends = [array("q") for _ in range(job.spec.partitions)]
        self._sequence = 0
        self._error: KafkaError | None = None
        saturated = job.spec.saturated
        self._producer = Producer(
            {
                "bootstrap.servers": job.bootstrap_servers,
                "enable.idempotence": True,  # keeps a partition's order, by which delivery reports find their event
                "linger.ms": 5 if saturated else 0,
                "batch.size": 1_000_000,
                "message.max.bytes": MAX_MESSAGE_BYTES,
                "queue.buffering.max.messages": 200_000,
                "queue.buffering.max.kbytes": 1_048_576,
                "socket.nagle.disable": True,
                "log_level": 3,
            }
        )

    def _delivered(self, error: KafkaError | None, message) -> None:
        if error is not None:
            self._error = error
        self._appends[message.partition()].append(message.timestamp()[1])

    def _send(self, value: bytes, partition: int) -> None:
        while True:
            try:
                self._producer.produce(self._job.input_topic, value, partition=partition, on_delivery=self._delivered)
                return
            except BufferError:
                self._producer.poll(0.01)

    def _check(self) -> None:
        if self._error is not None:
            raise CrayfishError(f"producer: the broker refused an event: {self._error.str()}")

    def segment(self, index: int, load: Segment) -> None:
        """Send one segment and wait until the broker has all of it."""
        bodies = event_bodies(self._codec, self._pool, load.batch_size)
        offsets = pacing.due_offsets(load, seed=self._job.spec.seed + index)
        start_ns = time.monotonic_ns() + LEAD_NS
        due = offsets + (start_ns + self._anchor_ns)
        sent = np.zeros(len(due), np.int64)
        self._report(event="segment_started", segment=index, events=len(due), start_ns=int(start_ns + self._anchor_ns))
        (self._send_backlog if load.saturated else self._send_paced)(load, index, bodies, due, sent)
        left = self._producer.flush(FLUSH_DEADLINE_S)
        self._check()
        if left:
            raise CrayfishError(f"producer: {left} events were not taken by the broker within {FLUSH_DEADLINE_S:g} s")
        self._segments.append((index, due, sent))
        self._sequence += len(due)
        self._report(
            event="segment_done", segment=index, sent=self._sequence, end_ns=time.monotonic_ns() + self._anchor_ns
        )

    def _send_paced(self, load: Segment, index: int, bodies: list[bytes], due: np.ndarray, sent: np.ndarray) -> None:
        stamp, partitions, points = self._codec.stamp, self._job.spec.partitions, load.batch_size
        now_ns, anchor, first, poll = time.monotonic_ns, self._anchor_ns, self._sequence, self._producer.poll
        next_report = 0
        for position, due_ns in enumerate(due.tolist()):
            wait_ns = due_ns - anchor - now_ns()
            if wait_ns > SPIN_NS:
                poll(0)
                now = now_ns()
                if now > next_report:
                    self._check()
                    self._report(event="progress", segment=index, sent=first + position)
                    next_report = now + PROGRESS_NS
                wait_ns = due_ns - anchor - now_ns() - SPIN_NS
                if wait_ns > 0:
                    time.sleep(wait_ns / 1e9)
            while now_ns() + anchor < due_ns:
                pass
            sequence = first + position
            value = stamp(bodies[sequence % len(bodies)], points, sequence, due_ns)
            sent[position] = now_ns() + anchor
            self._send(value, sequence % partitions)

    def _send_backlog(self, load: Segment, index: int, bodies: list[bytes], due: np.ndarray, sent: np.ndarray) -> None:
        stamp, partitions, points = self._codec.stamp, self._job.spec.partitions, load.batch_size
        now_ns, anchor, first = time.monotonic_ns, self._anchor_ns, self._sequence
        for position, due_ns in enumerate(due.tolist()):
            sequence = first + position
            value = stamp(bodies[sequence % len(bodies)], points, sequence, due_ns)
            sent[position] = now_ns() + anchor
            self._send(value, sequence % partitions)
            if position % 5000 == 0:
                self._producer.poll(0)
                self._check()
                self._report(event="progress", segment=index, sent=sequence)

    def write(self, path: Path) -> None:
        """The table of every event."""
        columns: dict[str, np.ndarray] = {
            "segment": np.concatenate([np.full(len(due), index, np.int16) for index, due, _ in self._segments]),
            "due_ns": np.concatenate([due for _, due, _ in self._segments]),
            "sent_ns": np.concatenate([sent for _, _, sent in self._segments]),
        }
        sequence = np.arange(self._sequence, dtype=np.int64)
        partition = (sequence % self._job.spec.partitions).astype(np.int16)
        appended = np.full(self._sequence, -1, np.int64)
        for number, times in enumerate(self._appends):
            appended[partition == number] = np.frombuffer(times, np.int64) if len(times) else -1
        columns |= {"sequence": sequence, "partition": partition, "input_append_ms": appended}
        order = ["sequence", "segment", "due_ns", "sent_ns", "input_append_ms", "partition"]
        pq.write_table(pa.table({name: columns[name] for name in order}), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--anchor", type=int, required=True, help="wall clock minus monotonic clock, ns")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    report = child.reporter()
    with np.load(arguments.reference) as reference:
        pool = reference["inputs"]
    job = Job.read(arguments.job)
    generator = Generator(job, pool, arguments.anchor, report)
    report(event="ready")
    for command in map(json.loads, sys.stdin):
        if "segment" in command:
            number = command["segment"]
            generator.segment(number, Segment(**command["load"]) if "load" in command else job.spec.segments[number])
        else:
            generator.write(arguments.out)
            report(event="written")
    generator.write(arguments.out)
    report(event="written")


if __name__ == "__main__":
    errors.main(main)
