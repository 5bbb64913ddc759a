"""When each event of a load is due, in ns from its segment's start, for all of its warm-up and measurement. Pure.

One rule serves every load: with L(t) the integral of the rate, the k-th event is due where L(t) = k. A Poisson load
takes the running sum of exponential draws of mean 1 in the place of k. A backlog is due at once, whole.
A burst comes after `between_s` at the base rate, as in the original; the first such gap starts when the warm-up ends.
"""

import math

import numpy as np

from crayfish.errors import CrayfishError
from crayfish.run_spec import Load

ROUNDING = 1e-6  # of an event: 0.1/s for 30 s are 3 events, though the product of the floats exceeds 3


def bursts(load: Load) -> list[tuple[float, float]]:
    """Start and end of every burst, s from the segment's start; the last one may be cut by the segment's end."""
    if load.kind != "bursty":
        return []
    end, cycle = load.warmup_s + load.measure_s, load.between_s + load.burst_s
    starts = np.arange(load.warmup_s + load.between_s, end, cycle).tolist()
    return [(start, min(start + load.burst_s, end)) for start in starts]


def _integral(load: Load) -> tuple[np.ndarray, np.ndarray]:
    """The integral of the rate as a broken line: times (s, increasing) and events that are due before them."""
    edges = [0.0, *(edge for burst in bursts(load) for edge in burst), load.warmup_s + load.measure_s]
    times = np.array(edges)
    rates = np.where(np.arange(len(edges) - 1) % 2, load.peak_rate, load.rate)
    return times, np.concatenate([[0.0], np.cumsum(rates * np.diff(times))])


def _poisson_marks(total: float, generator: np.random.Generator) -> np.ndarray:
    """Running sums of exponential draws of mean 1, all those below `total`."""
    sums = np.zeros(0)
    while not len(sums) or sums[-1] < total:
        draws = generator.exponential(size=int(total + 6 * math.sqrt(total)) + 16)
        sums = np.concatenate([sums, np.cumsum(draws) + (sums[-1] if len(sums) else 0.0)])
    return sums[sums < total]


def due_offsets(load: Load, seed: int) -> np.ndarray:
    """The due times of a load: int64[n], ns from the segment's start, never decreasing.

    n is the integral of the rate over warmup_s + measure_s, rounded up (the first event is due at 0); of a Poisson
    load it is that in the mean. Equal loads and seeds give equal times; only Poisson draws. Raises CrayfishError where
    n is 0.
    """
    times, events = _integral(load)
    if load.kind == "poisson":
        marks = _poisson_marks(events[-1], np.random.default_rng(seed))
    else:
        marks = np.arange(math.ceil(events[-1] - ROUNDING))
    if not len(marks):
        raise CrayfishError(
            f"load.rate: {load.rate!r} events/s for {times[-1]:g} s make no event of a {load.kind} load;"
            " raise load.rate (of a backlog it is a pilot's rate) or load.measure_s"
        )
    if load.saturated:
        return np.zeros(len(marks), np.int64)
    return np.rint(np.interp(marks, events, times) * 1e9).astype(np.int64)
