"""The sink: a process that receives every prediction, stamps it and checks it against the right answer for its image.

`python -m crayfish.harness.consumer --job FILE --reference NPZ --anchor NS --out PARQUET`. It reports its progress as
JSON lines. On its standard input {"anchor_ns": n} replaces --anchor where the node has another clock, {"write": true}
makes it write the table of all predictions so far, and {"until": [offset, ...]} says where each partition of the output
topic ends: it reads to there, writes the table and ends. The table, in order of receipt, without probes: sequence,
output_append_ms (the broker's LogAppendTime, truncated to 1 ms), received_ns (-1 where --offline: a backlog that is
read after it was drained), partition, correct. Of several sinks (--member of --members) each reads its share of the
partitions.
"""

import argparse
import gc
import json
import queue
import sys
import threading
import time
from array import array
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from crayfish.engine import child, kafka
from crayfish.harness import clocks
from crayfish.harness.checker import Checker, right_answers
from crayfish.spec import errors
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import MAX_MESSAGE_BYTES, Job

CHUNK = 1000
WAIT_S = 0.05
PROGRESS_NS = 250_000_000
COLUMNS = {
    "sequence": pa.int64(),
    "output_append_ms": pa.int64(),
    "received_ns": pa.int64(),
    "partition": pa.int16(),
    "correct": pa.bool_(),
}
# As they are kept: the typecode of an array that grows, which numpy takes too.
CODES = {"sequence": "q", "output_append_ms": "q", "received_ns": "q", "partition": "h", "correct": "b"}


class Sink:
    """Reads the output topic from its start to the end that it is told.

    What it keeps of an event is its row of the table, 27 bytes, and whether it was seen, 1 to 2 bytes. Messages are
    stamped and put aside when they come, and checked together at the next report or when CHUNK of them are there.
    """

    def __init__(self, job: Job, checker: Checker, anchor_ns: int, offline: bool, share: range | None = None):
        """share: the partitions that it reads; None: all."""
        self._share = share or range(job.spec.partitions)
        self._job, self._checker, self.anchor_ns, self._offline = job, checker, anchor_ns, offline
        self._table = {name: array(code) for name, code in CODES.items()}
        self._seen = np.zeros(1024, bool)
        self.received = self.wrong = self.malformed = 0
        self._messages: list[Message] = []
        self._received_ns = array("q")  # of each of them
        self._latencies: list[np.ndarray] = []  # ms, of what was checked since the last report
        self._position = dict.fromkeys(self._share, 0)
        self._to_ends = False  # whether the consumer also tells how far a partition was read, markers included
        self._consumer = self._opened()

    def _opened(self) -> Consumer:
        """A consumer that goes on where the last one was. To tell the ends costs a message more for each event."""
        settings = {
            **kafka.librdkafka_broker(self._job),
            "group.id": f"{self._job.group}-sink",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 100,
            "fetch.queue.backoff.ms": 1,
            "receive.message.max.bytes": 2 * MAX_MESSAGE_BYTES,
            "socket.nagle.disable": True,
            "enable.partition.eof": self._to_ends,
            "log_level": 3,
        }
        kafka.record(self._job, "sink", kafka.librdkafka_effective(settings))
        consumer = Consumer(settings)
        topic = self._job.output_topic
        consumer.assign([TopicPartition(topic, number, offset) for number, offset in self._position.items()])
        return consumer

    def read_to(self, ends: list[int]) -> bool:
        """Take more messages; whether every partition is read up to this offset, and all messages are checked."""
        if not self._to_ends:
            self._to_ends = True
            self._consumer.close()
            self._consumer = self._opened()
        self.step()
        if not all(position >= ends[number] for number, position in self._position.items()):
            return False
        self.check()
        return True

    def step(self) -> None:
        """Take the messages that are there, after waiting a moment for a first one."""
        first = self._consumer.poll(WAIT_S)
        if first is None:
            return
        messages = [first, *self._consumer.consume(CHUNK - 1, 0)]
        received_ns = -1 if self._offline else time.monotonic_ns() + self.anchor_ns
        for message in messages:
            error, partition, offset = message.error(), message.partition(), message.offset()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise CrayfishError(f"consumer: the broker failed: {error.str()}")
            assert partition is not None and offset is not None  # every message has both, and so has a partition's end
            if error is None:
                self._messages.append(message)
                offset += 1
            self._position[partition] = offset
        self._received_ns.extend([received_ns] * (len(self._messages) - len(self._received_ns)))
        if len(self._messages) >= CHUNK:
            self.check()

    def check(self) -> None:
        """Check the messages that were put aside, and keep what the table says of them."""
        if not (messages := self._messages):
            return
        sequences, probes, correct, due_ns = self._checker.check([message.value() or b"" for message in messages])
        real = ~probes & (sequences >= 0)
        sequences, received_ns = sequences[real], np.array(self._received_ns)[real]
        found = {
            "sequence": sequences,
            "output_append_ms": np.array([message.timestamp()[1] for message in messages])[real],
            "received_ns": received_ns,
            "partition": np.array([message.partition() for message in messages], np.int16)[real],
            "correct": correct[real].astype(np.int8),
        }
        for name, values in found.items():
            self._table[name].frombytes(np.ascontiguousarray(values).tobytes())
        self.received += len(sequences)
        self.malformed += int((~probes & ~real).sum())
        self.wrong += int((~correct[real]).sum())
        self._latencies.append((received_ns - due_ns[real]) / 1e6)
        if len(sequences):
            self._note(sequences)
        self._messages, self._received_ns = [], array("q")

    def _note(self, sequences: np.ndarray) -> None:
        """That these events were answered."""
        if (most := int(sequences.max())) >= len(self._seen):
            self._seen = np.concatenate([self._seen, np.zeros(max(len(self._seen), most + 1 - len(self._seen)), bool)])
        self._seen[sequences] = True

    def progress(self) -> dict[str, object]:
        """What a report says: `received` and `distinct` predictions and `wrong` ones so far; `answered` and
        `latency_ms`: how many came since the last report, and their median latency (None if none did)."""
        self.check()
        latencies, self._latencies = np.concatenate([np.zeros(0), *self._latencies]), []
        median = None if self._offline or not len(latencies) else round(float(np.median(latencies)), 3)
        return {**self.counts(), "answered": len(latencies), "latency_ms": median}

    def counts(self) -> dict[str, int]:
        """How many predictions were received, how many of them are distinct, wrong, and malformed."""
        distinct = int(np.count_nonzero(self._seen))
        return {"received": self.received, "distinct": distinct, "wrong": self.wrong, "malformed": self.malformed}

    def write(self, path: Path) -> None:
        """The table of every prediction, in order of receipt."""
        self.check()
        columns = {name: np.array(values, values.typecode) for name, values in self._table.items()}
        pq.write_table(pa.table(columns).cast(pa.schema(COLUMNS)), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--anchor", type=int, required=True, help="wall clock minus monotonic clock, ns")
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--member", type=int, default=0, help="which of several sinks this is, from 0")
    parser.add_argument("--members", type=int, default=1, help="how many there are")
    arguments = parser.parse_args()
    report = child.reporter()
    job = Job.read(arguments.job)
    with np.load(arguments.reference) as reference:
        answers = right_answers(job, reference["outputs"])
    share = range(arguments.member, job.spec.partitions, arguments.members)
    sink = Sink(job, Checker(job, answers), arguments.anchor, arguments.offline, share)
    commands: queue.SimpleQueue[dict] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            commands.put(json.loads(line))

    threading.Thread(target=listen, daemon=True).start()
    gc.disable()  # nothing here makes cycles, and a collection would delay an event's stamp
    report(event="ready", clock=clocks.answer() if child.HOST != child.LOOPBACK else None)
    next_report, ends = 0, None  # ends: where each partition ends, once that is told
    while ends is None or not sink.read_to(ends):
        if ends is None:
            sink.step()
        if not commands.empty():
            told = commands.get()
            ends, sink.anchor_ns = told.get("until"), told.get("anchor_ns", sink.anchor_ns)
            if "write" in told:
                sink.write(arguments.out)
                report(event="written")
        if (now := time.monotonic_ns()) > next_report:
            report(event="progress", at_ns=now + sink.anchor_ns, **sink.progress())
            next_report = now + PROGRESS_NS
    sink.write(arguments.out)
    report(event="written", **sink.counts())


if __name__ == "__main__":
    errors.main(main)
