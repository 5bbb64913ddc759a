"""When each event of a segment is due, in ns from its start, for all of its warm-up and measurement. Pure.

One rule serves every paced load but a trace: with L(t) the integral of the rate, the k-th event is due where L(t) = k.
A load that is drawn takes the running sum of draws of mean 1 in the place of k (exponential ones: a Poisson process).
What is particular to a kind of load lies in its module of harness/loads.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import Segment

TOGETHER_S = 0.002
MOST_TOGETHER = 500
LEAST_TURNS = 64  # of each partition in a segment, so that their shares are even
ROUNDING = 1e-6  # of an event: 0.1/s for 30 s are 3 events, though the product of the floats exceeds 3


def due_offsets(segment: Segment, seed: int) -> np.ndarray:
    """The intended send times of a segment: int64[n], ns from its start, never decreasing.

    n is the integral of the rate over warmup_s + measure_s, rounded up (the first event is due at 0); of a load that is
    drawn it is that in the mean. Equal segments and seeds give equal times. Raises CrayfishError where n is 0.
    """
    due = segment.declared.due(segment, seed)
    if not len(due):
        raise CrayfishError(
            f"load.rate: {segment.rate!r} events/s for {segment.warmup_s + segment.measure_s:g} s make no event of a"
            f" {segment.kind} load; raise load.rate (of a backlog it is a pilot's rate) or load.measure_s"
        )
    return due


def integral(segment: Segment) -> tuple[np.ndarray, np.ndarray]:
    """The integral of the rate as a broken line: times (s, increasing) and events that are due before them."""
    edges = [0.0, *(edge for burst in segment.bursts for edge in burst), segment.warmup_s + segment.measure_s]
    times = np.array(edges)
    rates = np.where(np.arange(len(edges) - 1) % 2, segment.peak_rate, segment.rate)
    return times, np.concatenate([[0.0], np.cumsum(rates * np.diff(times))])


def counted(segment: Segment) -> np.ndarray:
    """0, 1, 2, ... for every event of the segment: float[n]."""
    return np.arange(math.ceil(integral(segment)[1][-1] - ROUNDING), dtype=float)


def drawn(segment: Segment, draws: Callable[[int], np.ndarray]) -> np.ndarray:
    """When the events are due of a renewal process: int64[n], ns. draws(count): distances of mean 1, float[count]."""
    total, sums = integral(segment)[1][-1], np.zeros(0)
    while not len(sums) or sums[-1] < total:
        more = draws(int(total + 6 * math.sqrt(total)) + 16)
        sums = np.concatenate([sums, np.cumsum(more) + (sums[-1] if len(sums) else 0.0)])
    return where_integral_is(segment, sums[sums < total])


def where_integral_is(segment: Segment, marks: np.ndarray) -> np.ndarray:
    """When the integral of the rate reaches each of these values, float[n], increasing: int64[n], ns."""
    times, events = integral(segment)
    return np.rint(np.interp(marks, events, times) * 1e9).astype(np.int64)


def points_of(segment: Segment, events: int) -> np.ndarray:
    """The data points of each of a segment's first events: int[events]."""
    sizes = segment.declared.sizes(segment)
    return np.full(events, segment.batch_size) if sizes is None else sizes[:events]


def together(segment: Segment, partitions: int) -> int:
    """How many events of a paced segment go together, in one request to one partition: those due within TOGETHER_S.

    One request an event is most of what a broker, a generator and a sink cost on a small machine: see "The generator"
    in docs/methodology.md. The first of them waits for the last, so that this is 1 below 1 000 events/s.
    """
    turns = segment.rate * (segment.warmup_s + segment.measure_s) / (LEAST_TURNS * partitions)
    return max(1, int(min(segment.rate * TOGETHER_S, turns, MOST_TOGETHER)))


def partitions_of(segment: Segment, events: int, partitions: int) -> np.ndarray:
    """The partition of each of a segment's events, int16[events]: together where they go together, in turn."""
    size = 1 if segment.saturated else together(segment, partitions)
    return (np.arange(events) // size % partitions).astype(np.int16)
