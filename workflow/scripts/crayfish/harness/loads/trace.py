"""Events when a file says so: `trace`, a CSV file with the column `due_s` (s from the load's start, never decreasing)
and perhaps `batch_size`; `speed` times as fast. Warm-up and window must lie within it.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING

from crayfish.harness.loads.constant import drive
from crayfish.spec.contracts import Load
from crayfish.spec.errors import CrayfishError

if TYPE_CHECKING:
    import numpy as np

    from crayfish.spec.run_spec import Segment

COLUMNS = ("due_s", "batch_size")


def completed(load: dict) -> dict:
    """The load with what the file tells: its sha256, the mean rate, and the largest batch."""
    import numpy as np

    from crayfish.spec.run_spec import Segment

    if not load.get("trace"):
        raise CrayfishError(f"load.trace: missing: the CSV file with the columns {' and perhaps '.join(COLUMNS)}")
    for name in ("rate", "batch_size"):
        if name in load:
            raise CrayfishError(f"load.{name}: the trace tells it: leave it out")
    path = Path(load["trace"]).absolute()
    sha256 = hashlib.sha256(_content(path)).hexdigest()
    if load.get("trace_sha256", sha256) != sha256:
        raise CrayfishError(f"load.trace_sha256: {load['trace_sha256']} is not that of {path}: {sha256}")
    whole = {**load, "trace": str(path), "trace_sha256": sha256, "rate": 1.0}
    window = Segment.checked(whole)
    due_ns, sizes = due(window, 0), sizes_of(window)
    seconds = window.warmup_s + window.measure_s
    if (last_s := _read(path, sha256)[0][-1] / window.speed) < seconds:
        raise CrayfishError(
            f"load.measure_s: {path} ends after {last_s:g} s"
            f"{f' at {window.speed:g} times its speed' if window.speed != 1 else ''}, before warmup_s + measure_s ="
            f" {seconds:g} s: lower them"
        )
    if not len(due_ns):
        raise CrayfishError(f"load.trace: {path} has no event before {seconds:g} s")
    largest = {} if sizes is None else {"batch_size": int(np.max(sizes))}
    return {**whole, "rate": len(due_ns) / seconds, **largest}


def due(segment: Segment, seed: int) -> np.ndarray:
    """See crayfish.spec.contracts.Load."""
    import numpy as np

    times = _read(Path(segment.trace), segment.trace_sha256)[0] / segment.speed
    return np.rint(times[: _count(segment, times)] * 1e9).astype(np.int64)


def sizes_of(segment: Segment) -> np.ndarray | None:
    """See crayfish.spec.contracts.Load."""
    times, sizes = _read(Path(segment.trace), segment.trace_sha256)
    return None if sizes is None else sizes[: _count(segment, times / segment.speed)]


def _count(segment: Segment, times: np.ndarray) -> int:
    import numpy as np

    return int(np.searchsorted(times, segment.warmup_s + segment.measure_s))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CrayfishError(f"load.trace: {path} cannot be read: {error.strerror}") from error


@functools.lru_cache(maxsize=4)
def _read(path: Path, sha256: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The file's columns: float[n], s, and int[n] or None. CrayfishError with the line that is wrong."""
    import numpy as np

    content = _content(path)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CrayfishError(f"load.trace: {path} has changed since the run was planned: repeat the command")
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise CrayfishError(f"load.trace: {path} is no text: {error}") from error
    rows = csv.reader(lines)
    header = tuple(next(rows, ()))
    if header not in (COLUMNS[:1], COLUMNS):
        raise CrayfishError(
            f"load.trace: {path}, line 1: the columns are {','.join(header)!r}; allowed: {COLUMNS[0]!r}, or"
            f" {','.join(COLUMNS)!r}"
        )
    times: list[float] = []
    sizes: list[int] = []
    for row in rows:
        if fault := _fault(row, len(header), times[-1] if times else 0.0):
            raise CrayfishError(f"load.trace: {path}, line {rows.line_num}: {','.join(row)!r}: {fault}")
        times.append(float(row[0]))
        sizes += map(int, row[1:])
    if not times:
        raise CrayfishError(f"load.trace: {path} has no event")
    return np.array(times), np.array(sizes) if sizes else None


def _fault(row: list[str], columns: int, before_s: float) -> str:
    """What is wrong with a line; empty if nothing is."""
    if len(row) != columns:
        return f"{len(row)} values; there are {columns} columns"
    try:
        due_s = float(row[0])
    except ValueError:
        return "due_s is no number"
    if not math.isfinite(due_s) or due_s < before_s:
        return f"due_s must be a number of at least {before_s:g}, that of the line before"
    if row[1:] and not (row[1].isdecimal() and int(row[1])):
        return "batch_size must be a whole number of at least 1"
    return ""


LOAD = Load(due=due, drive=drive, positive=("speed",), fractions=False, completed=completed, sizes=sizes_of)
