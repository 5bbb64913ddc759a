"""What became of each event of a run: its per-event tables, joined, of which a block at a time is in memory.

Arrays that are large are files, mapped into memory and never listed in a folder, so that the kernel can put their pages
back where memory is short: a summary of 100 million events takes no more of it than one of a million.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from crayfish.spec.errors import CrayfishError

BLOCK = 1 << 20  # rows
IN_MEMORY = 16 << 20  # bytes of an array that is no file
PRODUCER = {
    "sequence": np.int64,
    "segment": np.int16,
    "due_ns": np.int64,
    "sent_ns": np.int64,
    "input_append_ms": np.int64,
    "partition": np.int16,
}
# What an event has of its predictions, and where it has none.
ANSWERS = (
    ("output_append_ms", np.int64, -1),
    ("received_ns", np.int64, -1),
    ("predictions", np.int32, 0),
    ("wrong", np.int32, 0),
)
CONSUMER = ("sequence", "output_append_ms", "received_ns", "correct")
Columns = dict[str, np.ndarray]


def select(columns: Columns, rows: np.ndarray | slice) -> Columns:
    """These rows of every column."""
    return {name: values[rows] for name, values in columns.items()}


def blocks(columns: Columns) -> Iterator[Columns]:
    """The columns' rows, at most BLOCK at a time."""
    count = len(next(iter(columns.values())))
    return (select(columns, slice(first, first + BLOCK)) for first in range(0, count, BLOCK))


@dataclass(frozen=True)
class Room:
    """Makes arrays; those that are large lie in this folder, until nothing refers to them any more."""

    folder: Path

    def array(self, count: int, kind: type) -> np.ndarray:
        """kind[count] of any content. CrayfishError where the disk has no room for it."""
        if (size := count * np.dtype(kind).itemsize) <= IN_MEMORY:
            return np.empty(count, kind)
        with tempfile.TemporaryFile(dir=self.folder) as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                raise CrayfishError(f"{self.folder}: no room for {size / 1e9:.1f} GB: {error.strerror}") from error
            return np.memmap(file, kind, "r+", shape=(count,)).view(np.ndarray)

    def each(self, columns: Columns, of: Callable[[Columns], np.ndarray], kind: type = float) -> np.ndarray:
        """What `of` makes of blocks of rows, one value or none of a row, in their order: kind[k]."""
        found, count = self.array(len(next(iter(columns.values()))), kind), 0
        for block in blocks(columns):
            values = of(block)
            found[count : count + len(values)] = values
            count += len(values)
        return found[:count]

    def ordered(self, columns: Columns, of: Callable[[Columns], np.ndarray], kind: type = float) -> np.ndarray:
        """The same of the rows that were answered, from the least to the largest."""
        found = self.each(columns, lambda block: of(select(block, block["predictions"] > 0)), kind)
        found.sort()
        return found


@dataclass
class Outcomes:
    """Every event of a run, in order of sequence: the columns of PRODUCER and, of its first prediction,
    output_append_ms and received_ns, -1 where it was lost; how many `predictions` it had, and how many of them `wrong`.

    unknown: segment -> how many predictions are of no event that was sent, by the sequence number that they have.
    """

    columns: Columns
    unknown: dict[int, int] = field(default_factory=dict)


def rows_of(path: Path, names: tuple[str, ...]) -> tuple[int, Iterator[Columns]]:
    """How many rows a parquet file has, and these columns of it, at most BLOCK rows at a time.

    CrayfishError if the file cannot be read or a column is missing.
    """
    again = "remove the run's folder and run it again"
    try:
        file = pq.ParquetFile(path, pre_buffer=False)  # it would keep all that was read
    except (OSError, ValueError) as error:
        raise CrayfishError(f"{path}: cannot be read as a table: {error}; {again}") from error
    if missing := [name for name in names if name not in file.schema_arrow.names]:
        raise CrayfishError(
            f"{path}: no column {', '.join(missing)}; it holds: {', '.join(file.schema_arrow.names)}; {again}"
        )

    def read() -> Iterator[Columns]:
        try:
            for batch in file.iter_batches(BLOCK, columns=list(names)):
                yield {name: batch[name].to_numpy(zero_copy_only=False) for name in names}
        except (OSError, ValueError) as error:
            raise CrayfishError(f"{path}: cannot be read to its end: {error}; {again}") from error
        finally:
            file.close()

    return file.metadata.num_rows, read()


def by_the_runs_clock(append_ms: np.ndarray, offset_ms: float) -> np.ndarray:
    """Append times by the run's clock, of a broker whose clock is so much ahead of it; in whole ms. -1 stays."""
    return np.where(append_ms < 0, append_ms, append_ms - round(offset_ms))


def read(folder: Path, offset_ms: float = 0.0) -> Outcomes:
    """What became of each event of the run in this folder: producer.parquet, in order of sequence, and
    consumer.parquet, whose append times are of a broker whose clock is so much ahead of the run's.

    Raises CrayfishError where a table is broken.
    """
    room, path = Room(folder), folder / "producer.parquet"
    count, found = rows_of(path, tuple(PRODUCER))
    columns = {name: room.array(count, kind) for name, kind in PRODUCER.items()}
    first, last = 0, -1
    for rows in found:
        if len(rows["sequence"]) and (rows["sequence"][0] <= last or (np.diff(rows["sequence"]) <= 0).any()):
            raise CrayfishError(f"{path}: is not in order of sequence; remove the run's folder and run it again")
        last = rows["sequence"][-1]
        rows["input_append_ms"] = by_the_runs_clock(rows["input_append_ms"], offset_ms)
        for name, values in rows.items():
            columns[name][first : first + len(values)] = values
        first += len(rows["sequence"])
    for name, kind, lost in ANSWERS:
        columns[name] = room.array(count, kind)
        columns[name].fill(lost)
    outcomes = Outcomes(columns)
    for rows in rows_of(folder / "consumer.parquet", CONSUMER)[1]:
        rows["output_append_ms"] = by_the_runs_clock(rows["output_append_ms"], offset_ms)
        _note(outcomes, rows)
    return outcomes


def _note(outcomes: Outcomes, rows: Columns) -> None:
    """Note predictions, which come in order of receipt."""
    columns = outcomes.columns
    if not (count := len(columns["sequence"])):
        outcomes.unknown[0] = outcomes.unknown.get(0, 0) + len(rows["sequence"])
        return
    position = np.minimum(np.searchsorted(columns["sequence"], rows["sequence"]), count - 1)
    known = columns["sequence"][position] == rows["sequence"]
    for segment, strangers in zip(*np.unique(columns["segment"][position[~known]], return_counts=True), strict=True):
        outcomes.unknown[int(segment)] = outcomes.unknown.get(int(segment), 0) + int(strangers)
    rows, position = select(rows, known), position[known]
    events, first = np.unique(position, return_index=True)
    new = columns["predictions"][events] == 0
    for name in ("output_append_ms", "received_ns"):
        columns[name][events[new]] = rows[name][first[new]]
    np.add.at(columns["predictions"], position, 1)
    np.add.at(columns["wrong"], position[~rows["correct"]], 1)
