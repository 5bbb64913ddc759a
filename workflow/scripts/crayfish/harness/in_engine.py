"""A run without Kafka: the engine makes the events and keeps the predictions. `drive` is what producer, broker and
consumer are in a run with Kafka, and writes the same tables.

Harness and engine meet in the folder Job.exchange. Whole numbers in its files are int64, big-endian; times are ns of
the monotonic clock, which all processes of a machine share. Segment 0 is the probes, one a partition; segment K is the
run's K-th load. The engine's instance I of N makes the events of the partitions (sequence % partitions) I, I + N, ...
    segment-K        data points an event, number of bodies b, number of events n, first sequence, flags; where bodies
                     begin and end [b + 1]; when events are due, ns from the segment's start [n]; the bodies. An event
                     is the codec's stamp and body sequence % b
    segment-K.start  text, "WALL MONOTONIC": lets the segment go; the start by the clock of due times, and by this one
    sent-K-I         when the instance released each of its events, in their order
    predictions-I    the predictions that an instance of the sink took, one after the other
    done-I           of each of them: when it took it, and its length
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crayfish.harness import consumer, pacing, probes
from crayfish.harness.clients import LEAD_NS
from crayfish.harness.producer import event_bodies
from crayfish.spec.errors import CrayfishError
from crayfish.spec.events import PROBE, codec_of
from crayfish.spec.waiting import Deadline, wait_until

if TYPE_CHECKING:
    from crayfish.harness.run import Run
    from crayfish.spec.run_spec import Job

NUMBER = np.dtype(">i8")


class Exchange:
    """The harness's side of the folder."""

    def __init__(self, job: Job, pool: np.ndarray, anchor_ns: int):
        self._job, self._folder, self._anchor_ns = job, job.exchange, anchor_ns
        loads, partitions = job.spec.segments, job.spec.partitions
        offsets = [pacing.due_offsets(load, seed=job.spec.seed + index) for index, load in enumerate(loads)]
        self.offsets = [np.zeros(partitions, np.int64), *offsets]
        self._starts = [0] * len(self.offsets)
        self._folder.mkdir()
        codec, first = codec_of(job), 0
        self._write(0, event_bodies(codec, pool, loads[0].batch_size), loads[0].batch_size, 0, PROBE)
        for number, load in enumerate(loads, start=1):
            self._write(number, event_bodies(codec, pool, load.batch_size), load.batch_size, first, 0)
            first += len(self.offsets[number])

    def _write(self, number: int, bodies: list[bytes], points: int, first: int, flags: int) -> None:
        offsets = self.offsets[number]
        head = [points, len(bodies), len(offsets), first, flags]
        with (self._folder / f"segment-{number}").open("wb") as file:
            file.write(np.concatenate([head, np.cumsum([0, *map(len, bodies)]), offsets]).astype(NUMBER).tobytes())
            file.writelines(bodies)

    def begin(self, number: int) -> int:
        """Let a segment go, a moment from now; its start by the wall clock, ns."""
        monotonic_ns = time.monotonic_ns() + LEAD_NS
        self._starts[number] = monotonic_ns + self._anchor_ns
        part = self._folder / f"segment-{number}.part"
        part.write_text(f"{self._starts[number]} {monotonic_ns}\n")
        part.rename(self._folder / f"segment-{number}.start")
        return self._starts[number]

    def _numbers(self, pattern: str) -> int:
        return sum(file.stat().st_size for file in self._folder.glob(pattern)) // NUMBER.itemsize

    def answered(self) -> int:
        """How many predictions the sink has written, probes' included; what it buffers still comes at a checkpoint."""
        return self._numbers("done-*") // 2

    def released(self, number: int) -> bool:
        """Whether every instance has told when it sent its events of a segment."""
        return self._numbers(f"sent-{number}-*") == len(self.offsets[number])

    def sent(self) -> dict[str, np.ndarray]:
        """The producer's table of every event, without probes."""
        due = np.concatenate([self._starts[k] + offsets for k, offsets in enumerate(self.offsets)][1:])
        sequence = np.arange(len(due), dtype=np.int64)
        sent = np.concatenate([self._sent(number) for number in range(1, len(self.offsets))])
        return {
            "sequence": sequence,
            "segment": np.repeat(np.arange(len(self.offsets) - 1, dtype=np.int16), [*map(len, self.offsets[1:])]),
            "due_ns": due,
            "sent_ns": sent,
            "input_append_ms": sent // 1_000_000,
            "partition": (sequence % self._job.spec.partitions).astype(np.int16),
        }

    def _sent(self, number: int) -> np.ndarray:
        """When each event of a segment was sent, by the wall clock."""
        first = sum(map(len, self.offsets[1:number]))
        files = [*self._folder.glob(f"sent-{number}-*")]
        partition = (first + np.arange(len(self.offsets[number]))) % self._job.spec.partitions
        sent = np.zeros(len(partition), np.int64)
        for file in files:
            sent[partition % len(files) == int(file.name.rpartition("-")[2])] = np.fromfile(file, NUMBER)
        return sent + self._anchor_ns

    def predictions(self) -> Iterator[tuple[np.ndarray, list[bytes]]]:
        """What the sink has written, some at a time: when each was done, by the wall clock, and its bytes."""
        for file in sorted(self._folder.glob("done-*")):
            done, lengths = np.fromfile(file, NUMBER).reshape(-1, 2).astype(np.int64).T
            with (self._folder / file.name.replace("done", "predictions")).open("rb") as values:
                for start in range(0, len(done), consumer.CHUNK):
                    ends = np.cumsum([0, *lengths[start : start + consumer.CHUNK]]).tolist()
                    block = values.read(ends[-1])
                    yield (
                        done[start : start + consumer.CHUNK] + self._anchor_ns,
                        [block[begin:end] for begin, end in pairwise(ends)],
                    )


def drive(run: Run) -> None:
    """A run of transport in_engine, of any load; see crayfish.harness.loads for what a driver does."""
    run.write_job()
    run.start_server()
    exchange = Exchange(run.job, run.pool, run.anchor_ns)
    processor = run.start_processor()
    processor.await_ready()
    prove_path(run, exchange)
    run.mark("probes")
    expected = 0
    for index, segment in enumerate(run.spec.segments):
        events = len(exchange.offsets[index + 1])
        expected += events
        length_s = 0.0 if run.spec.saturated else segment.warmup_s + segment.measure_s
        start_ns = exchange.begin(index + 1)
        await_predictions(run, exchange, index, length_s, expected)
        end_ns = time.monotonic_ns() + run.anchor_ns
        run.note_segment(segment, start_ns, events, end_ns if run.spec.saturated else None)
        run.excluded_s += length_s or (end_ns - start_ns) / 1e9
    processor.end()
    pq.write_table(pa.table(exchange.sent()), run.folder / "producer.parquet")
    run.predictions = check_predictions(run, exchange, run.folder / "consumer.parquet")
    run.mark("consumer")


def prove_path(run: Run, exchange: Exchange) -> None:
    """One event of every partition through the whole job, rightly answered: process execution loads its model at it."""
    partitions, deadline_s = run.spec.partitions, run.spec.ready_timeout_s
    exchange.begin(0)
    wait_until(
        lambda: exchange.answered() >= partitions,
        deadline_s,
        lambda: CrayfishError(
            f"probes: {exchange.answered()} of {partitions} were answered within {deadline_s:g} s;"
            f" see the log of {run.spec.processor}"
        ),
        run.watch,
    )
    for _, values in exchange.predictions():
        sequences, are_probes, correct, _ = run.checker.check(values)
        probes.refuse_wrong(sequences[~(are_probes & correct)])


def await_predictions(run: Run, exchange: Exchange, index: int, length_s: float, expected: int) -> None:
    """Wait until all predictions are there; CrayfishError if none comes for the drain's deadline, counted from the end
    of the load or, in a backlog, from the last one."""
    due_s, loads = (exchange.offsets[index + 1] + LEAD_NS) / 1e9, len(run.spec.segments)
    began, most, answered = time.monotonic(), -1, 0
    stalled = Deadline(length_s + run.spec.drain_timeout_s)

    def all_there() -> bool:
        nonlocal most, answered
        answered = exchange.answered() - run.spec.partitions
        if run.spec.saturated and answered > most:
            most = answered
            stalled.extend(run.spec.drain_timeout_s)
        sent = expected - len(due_s) + int(np.searchsorted(due_s, time.monotonic() - began))
        run.progress(f"segment {index + 1}/{loads}: {sent} sent, backlog {max(0, sent - answered)}")
        return answered >= expected and exchange.released(index + 1)

    wait_until(
        all_there,
        stalled,
        lambda: CrayfishError(
            f"{expected - answered} of {expected} events were never answered, which violates {run.spec.delivery}:"
            f" {run.spec.scorer} in {run.spec.processor}; if it was only slow, raise run.drain_timeout_s"
            f" ({run.spec.drain_timeout_s:g} s)\n  log: {run.log_of('processor')}"
        ),
        run.watch,
    )


def check_predictions(run: Run, exchange: Exchange, path: Path) -> dict[str, int]:
    """Check every prediction and write the consumer's table, in order of receipt; how many there were of each kind."""
    columns: dict[str, list[np.ndarray]] = {name: [] for name in consumer.COLUMNS}
    malformed = 0
    for done, values in exchange.predictions():
        run.watch()
        sequences, are_probes, correct, _ = run.checker.check(values)
        real = ~are_probes & (sequences >= 0)
        malformed += int((sequences < 0).sum())
        found = {
            "sequence": sequences,
            "output_append_ms": done // 1_000_000,
            "received_ns": done,
            "partition": (sequences % run.spec.partitions).astype(np.int16),
            "correct": correct,
        }
        for name, parts in columns.items():
            parts.append(found[name][real])
    whole = {name: np.concatenate(parts) for name, parts in columns.items()}
    order = np.argsort(whole["received_ns"], kind="stable")
    table = {name: pa.array(whole[name][order], kind) for name, kind in consumer.COLUMNS.items()}
    pq.write_table(pa.table(table), path)
    return {
        "received": len(order),
        "distinct": len(np.unique(whole["sequence"])),
        "wrong": int((~whole["correct"]).sum()),
        "malformed": malformed,
    }
