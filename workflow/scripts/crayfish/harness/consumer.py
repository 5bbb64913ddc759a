"""The sink: a process that receives every prediction, stamps it and checks it against the right answer for its image.

`python -m crayfish.harness.consumer --job FILE --reference NPZ --anchor NS --out PARQUET`. It reports its progress as
JSON lines. On its standard input {"write": true} makes it write the table of all predictions so far, and {"until":
[offset, ...]} says where each partition of the output topic ends: it reads to there, writes the table and ends. The
table, in order of receipt, without probes: sequence, output_append_ms (the broker's LogAppendTime, truncated to 1 ms),
received_ns (-1 where --offline: a backlog that is read after it was drained), partition, correct.
"""

import argparse
import json
import queue
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from crayfish.engine import child
from crayfish.harness.checker import Checker, right_answers
from crayfish.spec import errors
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import MAX_MESSAGE_BYTES, Job

CHUNK = 1000
PROGRESS_NS = 500_000_000
COLUMNS = {
    "sequence": pa.int64(),
    "output_append_ms": pa.int64(),
    "received_ns": pa.int64(),
    "partition": pa.int16(),
    "correct": pa.bool_(),
}


class Sink:
    """Reads the output topic from its start to the end that it is told."""

    def __init__(self, job: Job, checker: Checker, anchor_ns: int, offline: bool):
        self._checker, self._anchor_ns, self._offline = checker, anchor_ns, offline
        self._tables: list[dict[str, np.ndarray]] = []
        self._seen = np.zeros(1024, bool)
        self.received = self.distinct = self.wrong = self.malformed = 0
        self._position = [0] * job.spec.partitions
        self._consumer = Consumer(
            {
                "bootstrap.servers": job.bootstrap_servers,
                "group.id": f"{job.group}-sink",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 100,
                "fetch.queue.backoff.ms": 1,
                "receive.message.max.bytes": 2 * MAX_MESSAGE_BYTES,
                "socket.nagle.disable": True,
                "enable.partition.eof": True,  # tells how far a partition was read, transaction markers included
                "log_level": 3,
            }
        )
        self._consumer.assign([TopicPartition(job.output_topic, number, 0) for number in range(job.spec.partitions)])

    def has_read_to(self, ends: list[int]) -> bool:
        """Whether every partition was read up to this offset."""
        return all(position >= end for position, end in zip(self._position, ends, strict=True))

    def step(self) -> None:
        """Take the messages that are there, after waiting a moment for a first one."""
        first = self._consumer.poll(0.05)
        if first is None:
            return
        messages = [first, *self._consumer.consume(CHUNK - 1, 0)]
        received_ns = time.monotonic_ns() + self._anchor_ns
        kept = []
        for message in messages:
            error, partition, offset = message.error(), message.partition(), message.offset()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise CrayfishError(f"consumer: the broker failed: {error.str()}")
            assert partition is not None and offset is not None  # every message has both, and so has a partition's end
            if error is None:
                kept.append(message)
                offset += 1
            self._position[partition] = offset
        if kept:
            self._keep(kept, -1 if self._offline else received_ns)

    def _keep(self, messages: list[Message], received_ns: int) -> None:
        sequences, probes, correct = self._checker.check([message.value() or b"" for message in messages])
        real = ~probes & (sequences >= 0)
        self.malformed += int((sequences < 0).sum())
        self._tables.append(
            {
                "sequence": sequences[real],
                "output_append_ms": np.array([message.timestamp()[1] for message in messages])[real],
                "received_ns": np.full(int(real.sum()), received_ns, np.int64),
                "partition": np.array([message.partition() for message in messages], np.int16)[real],
                "correct": correct[real],
            }
        )
        self.received += int(real.sum())
        self.wrong += int((~correct[real]).sum())
        if real.any():
            self._count(np.unique(sequences[real]))

    def _count(self, sequences: np.ndarray) -> None:
        while sequences[-1] >= len(self._seen):
            self._seen = np.concatenate([self._seen, np.zeros_like(self._seen)])
        self.distinct += int((~self._seen[sequences]).sum())
        self._seen[sequences] = True

    def write(self, path: Path) -> None:
        """The table of every prediction, in order of receipt."""
        columns = (
            {name: np.concatenate([table[name] for table in self._tables]) for name in COLUMNS}
            if self._tables
            else {name: np.zeros(0) for name in COLUMNS}
        )
        pq.write_table(pa.table({name: pa.array(columns[name], kind) for name, kind in COLUMNS.items()}), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--anchor", type=int, required=True, help="wall clock minus monotonic clock, ns")
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    report = child.reporter()
    job = Job.read(arguments.job)
    with np.load(arguments.reference) as reference:
        answers = right_answers(job, reference["outputs"])
    sink = Sink(job, Checker(job, answers), arguments.anchor, arguments.offline)
    commands: queue.SimpleQueue[dict] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            commands.put(json.loads(line))

    threading.Thread(target=listen, daemon=True).start()
    report(event="ready")
    next_report, ends = 0, None  # ends: where each partition ends, once that is told
    while ends is None or not sink.has_read_to(ends):
        sink.step()
        if not commands.empty():
            ends = commands.get().get("until")
            if ends is None:
                sink.write(arguments.out)
                report(event="written")
        if time.monotonic_ns() > next_report:
            report(event="progress", received=sink.received, distinct=sink.distinct, wrong=sink.wrong)
            next_report = time.monotonic_ns() + PROGRESS_NS
    sink.write(arguments.out)
    report(event="written", received=sink.received, distinct=sink.distinct, wrong=sink.wrong, malformed=sink.malformed)


if __name__ == "__main__":
    errors.main(main)
