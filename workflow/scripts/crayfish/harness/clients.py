"""Generator and sink: each a process, or several that share the partitions and to the rest of the run are one.

Those on other nodes than the first stamp by their node's clock, which is compared with the run's before and after.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crayfish.harness import clocks
from crayfish.harness.parts import START_DEADLINE_S, PythonStage
from crayfish.harness.stages import StageFailed

if TYPE_CHECKING:
    from crayfish.harness.run import Run
    from crayfish.spec.run_spec import Segment

SUMMED = ("sent", "received", "distinct", "wrong", "malformed")  # counts that each of them reports of its own share
ROWS = 1 << 18  # of a table in memory
LEAD_NS = 200_000_000  # from the command to the first event of a segment


def merged(parts: Sequence[Iterator[pa.RecordBatch]], order: str) -> Iterator[pa.Table]:
    """The rows of all parts in the order of a column, in which those of each part are, some of them at a time."""
    unread = [(batch for batch in part if batch.num_rows) for part in parts]
    heads: dict[int, pa.Table] = {}  # of each part the next rows
    while True:
        for number, part in enumerate(unread):
            if number not in heads and (batch := next(part, None)) is not None:
                heads[number] = pa.Table.from_batches([batch])
        if not heads:
            return
        known = min(head[order][-1].as_py() for head in heads.values())  # up to there no part has more
        taken = []
        for number, head in list(heads.items()):
            count = pc.sum(pc.less_equal(head[order], known)).as_py()
            taken.append(head.slice(0, count))
            heads[number] = head.slice(count)
            if count == len(head):
                del heads[number]
        yield pa.concat_tables(taken).sort_by(order)


class Clients:
    """So many processes of a module of the harness, of which each writes its part of the table NAME.parquet."""

    PART = ""  # as a placement calls them
    ORDER = ""  # the column by which the table's rows are in order

    def __init__(self, run: Run, name: str, count: int, *options: object):
        self._run, self._name, self._count, self._options = run, name, count, options
        self._counts: dict[PythonStage, dict[str, int]] = {}
        self._done: list[dict] = []  # the ends of a segment that some of them have reported
        self._clocks: dict[PythonStage, tuple[str, int, int]] = {}  # host and port where it tells its clock; its anchor

    def __enter__(self) -> Clients:
        run = self._run
        arguments = ("--reference", run.places.reference.resolve(), "--anchor", run.anchor_ns)
        with ExitStack() as opened:
            self.stages: list[PythonStage] = []
            for member in range(self._count):
                share = ("--member", member, "--members", self._count)
                asked = run.asks(self.PART)
                stage = PythonStage(
                    run,
                    self._name,
                    sys.executable,
                    f"crayfish.harness.{self._name}",
                    *("--job", run.job_file, *arguments, "--out", self._part(member), *share, *self._options),
                    log_name=self._name if self._count == 1 else f"{self._name}-{member + 1}",
                    asked=asked[member % len(asked)],
                )
                opened.enter_context(stage)
                self.stages.append(stage)
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)

    def _part(self, member: int) -> str:
        table = f"{self._name}.parquet"
        return str(self._run.folder / (table if self._count == 1 else f"{table}.{member}"))

    def check(self) -> None:
        """Raise StageFailed if one of them has died."""
        for stage in self.stages:
            stage.check()

    def await_ready(self) -> None:
        """Wait until all are up; one on another node is told how its clock tells the run's time."""
        run = self._run
        for stage in self.stages:
            told = stage.await_event("ready")
            if stage.node:
                way = (stage.node.address, told["clock"])
                bounds = clocks.ask(*way, run.anchor_ns)
                anchor_ns = sum(bounds) // 2
                stage.send(anchor_ns=anchor_ns)
                self._clocks[stage] = (*way, anchor_ns)
                run.clocks[self.PART].append(clocks.known(bounds, anchor_ns))

    def ask_clocks(self) -> None:
        """Note how far the clocks of those on other nodes have gone astray."""
        self.check()
        for host, port, anchor_ns in self._clocks.values():
            bounds = clocks.ask(host, port, self._run.anchor_ns)
            self._run.clocks[self.PART].append(clocks.known(bounds, anchor_ns))

    def send(self, **message: object) -> None:
        """A JSON line to each of them."""
        for stage in self.stages:
            stage.send(**message)

    def await_event(self, event: str, deadline_s: float = START_DEADLINE_S) -> list[dict]:
        """The next message with this event of each of them; the run is watched meanwhile."""
        return [stage.await_event(event, deadline_s) for stage in self.stages]

    def failure(self, what: str) -> StageFailed:
        """An error about them, with the log of the first."""
        return self.stages[0].failure(what)

    def new_messages(self) -> list[dict]:
        """The messages that have come since the last call, with the counts of all of them in the place of each one's;
        the end of a segment once all have reported it."""
        found = []
        for stage in self.stages:
            counts = self._counts.setdefault(stage, dict.fromkeys(SUMMED, 0))
            for message in stage.new_messages():
                counts |= {name: message[name] for name in SUMMED if name in message}
                message |= {
                    name: sum(each[name] for each in self._counts.values()) for name in SUMMED if name in message
                }
                if message["event"] != "segment_done":
                    found.append(message)
                    continue
                self._done.append(message)
                if len(self._done) == self._count:
                    ends = {name: max(each[name] for each in self._done) for name in ("end_ns", "next")}
                    found.append({**message, **ends})
                    self._done = []
        return found

    def write(self) -> None:
        """Let them write the table of all events so far."""
        self.send(write=True)
        self.await_event("written")
        self._join()

    def _join(self) -> None:
        """One table of all parts, in its order."""
        if self._count > 1:
            # Not pre-buffered: it would keep all that was read.
            parts = [pq.ParquetFile(self._part(member), pre_buffer=False) for member in range(self._count)]
            with pq.ParquetWriter(self._run.folder / f"{self._name}.parquet", parts[0].schema_arrow) as table:
                for rows in merged([part.iter_batches(ROWS) for part in parts], self.ORDER):
                    table.write_table(rows)


class Producer(Clients):
    """The load generator; see crayfish.harness.producer."""

    PART, ORDER = "generator", "sequence"

    def __init__(self, run: Run):
        super().__init__(run, "producer", run.spec.generators)
        self._next = 0  # the sequence number of the next event

    def begin(self, number: int, load: Segment | None = None) -> dict:
        """Begin a segment of the run's, or this load in its place: how many `events`, and its `start_ns`."""
        self.send(segment=number, first=self._next, **({"load": vars(load)} if load else {}))
        self.await_event("prepared")
        start_ns = time.monotonic_ns() + self._run.anchor_ns + LEAD_NS
        self.send(start_ns=start_ns)
        return {"events": sum(each["events"] for each in self.await_event("segment_started")), "start_ns": start_ns}

    def new_messages(self) -> list[dict]:
        found = super().new_messages()
        self._next = max([self._next, *(each["next"] for each in found if each["event"] == "segment_done")])
        return found

    def end(self) -> None:
        """Let it write its table and end."""
        self.ask_clocks()
        for stage in self.stages:
            stage.close_input()
        self.await_event("written")
        self._join()


class Consumer(Clients):
    """The sink; see crayfish.harness.consumer."""

    PART, ORDER = "sink", "received_ns"

    def __init__(self, run: Run, offline: bool = False):
        super().__init__(run, "consumer", run.spec.sinks, *(["--offline"] if offline else []))

    def end(self, output_ends: list[int]) -> dict[str, int]:
        """Let it read each partition to its end, write its table and end; how many predictions there were."""
        self.ask_clocks()
        for stage in self.stages:
            stage.send(until=output_ends)
            stage.stopping = True
        written = self.await_event("written", START_DEADLINE_S + self._run.spec.drain_timeout_s)
        self._join()
        return {name: sum(each[name] for each in written) for name in SUMMED if name in written[0]}
