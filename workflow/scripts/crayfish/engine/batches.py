"""The batches of model calls: gathering them within their bounds, how they lie in one buffer, and what was reached.

What was reached is counted where the model is called, in a file that each operator maps into memory: a process that is
killed leaves its counts behind.
"""

from __future__ import annotations

import itertools
import math
import mmap
import struct
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

    from crayfish.spec.run_spec import Job, RunSpec

EXACT = (
    2048  # numbers below this are counted each by itself, larger ones with 1024 places from one power of 2 to the next
)
MOST = 2**32 - 1  # larger ones are counted as this
SUFFIX = ".batches"
LENGTH = 8  # bytes of a count
PERCENTILES = ("p50", "p99")


def wait_ms(spec: RunSpec) -> int:
    """How long a batch of the engine waits from its first event on, in whole ms, as engines take it: rounded up."""
    return math.ceil(spec.engine_batch_wait_ms)


def gather(
    consumer: Consumer, first: Message, most: int, waits_ms: int, stopped: Callable[[], bool], look_s: float
) -> list[Message]:
    """A batch that begins with this message: at most `most`, and what comes within waits_ms, or is there if that is 0.

    consumer: confluent-kafka's. Every look_s it asks stopped(), and takes what there is once that is true.
    """
    messages, end = [first], time.monotonic() + waits_ms / 1000
    while len(messages) < most:
        left_s = max(0.0, end - time.monotonic())
        # It takes whole ms, and would make 0 of less than one.
        messages += consumer.consume(most - len(messages), min(math.ceil(left_s * 1000) / 1000, look_s))
        if time.monotonic() >= end or stopped():
            break
    return messages


# --- several values in one buffer: their lengths as int32, little-endian, then the values one after the other --------


def pack(values: Sequence[bytes]) -> bytes:
    """The values in one buffer."""
    return b"".join((struct.pack(f"<{len(values)}i", *map(len, values)), *values))


def unpack(view: memoryview, count: int) -> list[bytes]:
    """The `count` values in a buffer."""
    values, start = [], 4 * count
    for length in struct.unpack_from(f"<{count}i", view):
        values.append(bytes(view[start : start + length]))
        start += length
    return values


# --- what was reached ------------------------------------------------------------------------------------------------


def place(number: int) -> int:
    """Where a whole number from 0 on is counted; places grow with the numbers."""
    if number < EXACT:
        return number
    number = min(number, MOST)
    shift = number.bit_length() - EXACT.bit_length() + 1
    return shift * EXACT // 2 + (number >> shift)


def least(at: int) -> int:
    """The least number that is counted at a place."""
    shift = max(0, at // (EXACT // 2) - 1)
    return (at - shift * EXACT // 2) << shift


PLACES = place(MOST) + 1  # of the sizes, and as many of the waits


class Counts:
    """Counts of one operator's batches, in a file of its own in a folder that is made."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=SUFFIX, delete=False) as file:
            file.write(bytes(2 * PLACES * LENGTH))  # a file without its blocks would end the process on a full disk
            file.flush()
            self._view = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")

    def add(self, size: int, waited_us: int | None) -> None:
        """Count a batch of so many events, whose first one has waited so long; None: nobody knows."""
        self._view[place(size)] += 1
        if waited_us is not None:
            self._view[PLACES + place(waited_us)] += 1


def counter(job: Job) -> Callable[[int, int | None], None]:
    """Counts.add of an operator of the job; nothing where the workers of a given engine may not write."""
    try:
        return Counts(job.records).add
    except OSError:
        if job.processor_address is None:
            raise
        return lambda size, waited_us: None


def reached(folders: Iterable[Path]) -> dict[str, float | None] | None:
    """Mean, median, 99th percentile and maximum of the sizes, events, and of the waits, ms, that Counts have in these
    folders.

    None where nothing was counted. Of waits that nobody knows all are None.
    """
    counts = [0] * (2 * PLACES)
    for file in (each for folder in folders for each in folder.glob(f"*{SUFFIX}")):
        content = file.read_bytes()
        if len(content) == len(counts) * LENGTH:  # not of a process that was killed while it made it
            counts = [sum(pair) for pair in zip(counts, memoryview(content).cast("Q"), strict=True)]
    sizes, waits = summary(counts[:PLACES]), summary(counts[PLACES:])
    if sizes["mean"] is None:
        return None
    return {
        **{f"size_{name}": value for name, value in sizes.items()},
        **{f"wait_ms_{name}": None if value is None else value / 1000 for name, value in waits.items()},
    }


def summary(counts: Sequence[int]) -> dict[str, float | None]:
    """Mean, median, 99th percentile (the least number that so large a share is not above) and maximum of what was
    counted at each place; None of nothing, and of a percentile of fewer than it needs (metrics.has_percentile)."""
    from crayfish.spec import metrics  # which imports numpy: not where a run is planned

    total = sum(counts)
    if not total:
        return dict.fromkeys(("mean", *PERCENTILES, "max"))
    below = list(itertools.accumulate(counts))

    def at(per_mille: int) -> float:
        return float(least(next(place for place, count in enumerate(below) if 1000 * count >= per_mille * total)))

    mean = sum(count * least(place) for place, count in enumerate(counts) if count) / total
    parts = {name: metrics.PER_MILLE[name] for name in PERCENTILES}
    told = {name: at(part) if metrics.has_percentile(total, part) else None for name, part in parts.items()}
    return {"mean": mean, **told, "max": at(1000)}
