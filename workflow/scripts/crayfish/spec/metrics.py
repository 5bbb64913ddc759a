"""The metrics: pure functions on arrays, each the benchmark's definition of one.

Times are in the unit that a function's docstring names; ns and ms count from the epoch. What the data cannot support is
None, never a guess: a percentile without 10 events above it, a rate over no time, an interval of one value. An event is
due at its intended send time. Nothing here reads a file, so that the harness and the tables compute alike.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

PER_MILLE = {"p50": 500, "p90": 900, "p95": 950, "p99": 990, "p99_9": 999}
EVENTS_ABOVE = 10  # so many events must lie above a percentile
CONFIDENCE = 0.95
RECOVERED_WINDOWS = 5  # consecutive windows of 1 s
BEFORE_S = 30.0
CURVE_LINEAR, CURVE_TAIL = 100, 100
BLOCKS = 20
LEAST_BLOCKS = 3  # for a line with an interval
DRIFT = 0.05  # over a window, as a share: less is steady


class Interval(NamedTuple):
    """A mean of n repetitions and its 95 % confidence interval; low and high are None where n is 1."""

    mean: float
    low: float | None
    high: float | None
    n: int


# --- the measured window ----------------------------------------------------------------------------------------------


def paper_window(count: int) -> slice:
    """What the original measures of `count` events or predictions in their order: all but the first quarter."""
    return slice(math.ceil(count / 4), count)


def always_busy_until(ends_ms: np.ndarray, left: np.ndarray, instances: int) -> int:
    """Until when all parallel instances surely had work while a backlog was drained: an append time, ms.

    ends_ms: int64[p], when the last prediction was appended of each partition's events, 0 or less where it has none;
    left: bool[p], whether the partition still holds events without an answer. An instance is idle when all its
    partitions are exhausted. Which ones are its own is unknown, but with P partitions it has P // instances of them at
    least, so none is idle before so many are exhausted. A single instance is busy to the end.
    """
    exhausted = np.where(left, np.iinfo(np.int64).max, ends_ms)
    ordered = np.sort(exhausted[exhausted > 0])
    return int(min(ordered[max(1, len(ordered) // instances) - 1], ends_ms.max()))


def drained_window(append_ms: np.ndarray, warmup_end_ms: float, end_ms: float, measure_s: float) -> tuple[float, float]:
    """Start and end, ms, of what is measured of a backlog that was drained until end_ms (see always_busy_until).

    append_ms: int64[n], any order. The window starts at the warm-up's end, but leaves out no more than the first half,
    so that a backlog that drained sooner than planned still has one. While throughput rises within it (`drifts`), the
    start moves on, by a block of a 20th at a time, as long as half of measure_s is left.
    """
    first = float(append_ms.min())
    start_ms = min(warmup_end_ms, first + (end_ms - first) / 2)
    if not start_ms < end_ms:
        return start_ms, end_ms
    edges = np.linspace(start_ms, end_ms, BLOCKS + 1)
    counts = np.histogram(append_ms, edges)[0]
    latest, moved = min(int((edges <= end_ms - 500 * measure_s).sum()) - 1, BLOCKS - LEAST_BLOCKS), 0
    while moved < latest and (change := trend(counts[moved:])).mean > 0 and drifts(change):
        moved += 1
    return float(edges[moved]), end_ms


# --- rates and latencies ----------------------------------------------------------------------------------------------


def throughput(append_ms: np.ndarray) -> float | None:
    """Predictions per second of a saturated system: (n - 1) / (last - first append). append_ms: int64[n], any order.

    The append times are the broker's, truncated to 1 ms. None for fewer than 2 events or no time between them.
    """
    if len(append_ms) < 2:
        return None
    span_ms = int(append_ms.max() - append_ms.min())
    return (len(append_ms) - 1) * 1000.0 / span_ms if span_ms else None


def throughput_within(append_ms: np.ndarray, start_ns: int, end_ns: int) -> float | None:
    """Predictions per second of a paced system: how many were appended from start_ns until before end_ns, by that time.

    append_ms: int64[n], in order, of all predictions, whenever their events were due. Counting between the first and
    the last append of some events instead would read too high where they are appended in batches, or where a queue
    drains. None if there is no time.
    """
    # The first ms whose middle (appended_ns) is not before each end.
    ends_ms = [-((500_000 - each) // 1_000_000) for each in (start_ns, end_ns)]
    first, last = np.searchsorted(append_ms, ends_ms)
    count = int(last - first)
    return count * 1e9 / (end_ns - start_ns) if end_ns > start_ns else None


def percentile(ordered: np.ndarray, per_mille: int) -> float | None:
    """A percentile of sorted values, float[n], interpolated linearly between neighbours (as numpy does by default).

    None of fewer than it needs.
    """
    if not has_percentile(len(ordered), per_mille):
        return None
    return float(quantiles_of(ordered, np.array([per_mille / 1000]))[0])


def has_percentile(count: float, per_mille: int) -> bool:
    """Whether at least 10 of so many values lie above it: n * (1 - p) >= 10, so p99 needs 1 000 values and p99.9 needs
    10 000."""
    return count * (1000 - per_mille) >= EVENTS_ABOVE * 1000


def quantiles_of(ordered: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """What np.quantile returns, float[k], without its copy of the values: float[n] in order, n > 0."""
    places = quantiles * (len(ordered) - 1)
    below = np.floor(places).astype(np.int64)
    low, high = ordered[below], ordered[np.minimum(below + 1, len(ordered) - 1)]
    return low + (high - low) * (places - below)


def latency_summary(ordered: np.ndarray) -> dict | None:
    """Percentiles, max, mean and number of latencies, float[n] in ms, in order; None if there are none."""
    if not len(ordered):
        return None
    return {
        **{name: percentile(ordered, per_mille) for name, per_mille in PER_MILLE.items()},
        "max": float(ordered[-1]),
        "mean": float(ordered.mean()),
        "n": len(ordered),
    }


def quantile_curve(ordered: np.ndarray) -> dict[str, list[float]]:
    """The whole distribution in about 200 points, for a CDF whose tail stays visible.

    ordered: latencies, float[n] in ms, in order. Returns {"quantile": [...], "ms": [...]}: steps of 1 % up to p90, from
    there on equal steps of log(1 - p) up to 1 / n above it, then the maximum. Empty lists for n = 0.
    """
    if not len(ordered):
        return {"quantile": [], "ms": []}
    last = min(0.1, 1 / len(ordered))
    body = np.linspace(0, 0.9, int(0.9 * CURVE_LINEAR) + 1)
    tail = 1 - np.geomspace(0.1, last, CURVE_TAIL) if last < 0.1 else np.zeros(0)
    quantiles = np.unique(np.concatenate([body, tail, [1.0]]))
    return {"quantile": np.round(quantiles, 9).tolist(), "ms": np.round(quantiles_of(ordered, quantiles), 6).tolist()}


def curve_quantiles(count: int) -> np.ndarray:
    """Where the curves of several samples are compared: float[k], increasing, each supported by `count` values.

    Steps of 2 % up to p90, from there on ten equal steps of log(1 - p) a decade, as far as 10 values lie above. Samples
    that are larger support all of a smaller one's quantiles, so that the smallest says what they have in common.
    """
    decades = np.arange(1, 10, 0.1)
    quantiles = np.concatenate([np.linspace(0, 0.9, 46), 1 - 10 ** -decades[1:]])
    return np.round(quantiles[count * (1 - quantiles) >= EVENTS_ABOVE * (1 - 1e-9)], 9)


def curve_at(curve: dict[str, list[float]], quantiles: np.ndarray) -> np.ndarray:
    """The latencies, float[k] in ms, of a quantile_curve at other quantiles, float[k]; in its tail by log(1 - p).

    The curve must not be empty, and the quantiles must not exceed its largest below 1.
    """
    known = np.array(curve["quantile"])
    finite = known < 1
    return np.interp(-np.log1p(-quantiles), -np.log1p(-known[finite]), np.array(curve["ms"])[finite])


def per_second(due_s: np.ndarray, latencies_ms: np.ndarray, appended_s: np.ndarray, seconds: int) -> dict[str, list]:
    """A segment second by second: lists of equal length, `second` (0, 1, ...), `due`, `p50_ms`, `p99_ms`, `appended`.

    due_s: float[n], intended send times in order, s from the segment's start; latencies_ms: float[n], nan where an
    event was lost; appended_s: float[m], append times of predictions in order. A latency belongs to the second in which
    its event was due; a percentile that a second's events cannot support is None.
    """
    edges, appended = (np.searchsorted(times, np.arange(seconds + 1)) for times in (due_s, appended_s))
    percentiles = []
    for first, last in itertools.pairwise(edges):
        ordered = np.sort(_known(latencies_ms[first:last]))
        percentiles.append([percentile(ordered, PER_MILLE[name]) for name in ("p50", "p99")])
    return {
        "second": list(range(seconds)),
        "due": np.diff(edges).tolist(),
        "p50_ms": [p50 for p50, _ in percentiles],
        "p99_ms": [p99 for _, p99 in percentiles],
        "appended": np.diff(appended).tolist(),
    }


def _known(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


def truncated_ms(times_ns: np.ndarray) -> np.ndarray:
    """int64[n] ns to int64[n] ms, truncated as the broker truncates its append times."""
    return times_ns // 1_000_000


def appended_ns(append_ms: np.ndarray) -> np.ndarray:
    """int64[n] append times, ms, to ns: the middle of the millisecond to which the broker has truncated each.

    So a time is at most 0.5 ms off, and by nothing in the mean if events come at all phases of a millisecond.
    """
    return np.asarray(append_ms, np.int64) * 1_000_000 + 500_000


def lateness_ms(due_ns: np.ndarray, input_append_ms: np.ndarray) -> np.ndarray | None:
    """How long after its intended send time each event was in the input topic: float[n], ms, off by 0.5 ms at most.

    That is what generator and broker take, and no processor can be faster. None where an append time is unknown (below
    0).
    """
    if (input_append_ms < 0).any():
        return None
    return (appended_ns(input_append_ms) - due_ns) / 1e6


def late_share(late_ms: np.ndarray, bound_ms: float) -> float:
    """The share of events that were later than bound_ms. late_ms: float[n], n > 0 (lateness_ms)."""
    return float(np.mean(late_ms > bound_ms))


# --- accounting -------------------------------------------------------------------------------------------------------


def accounting(predictions: np.ndarray, wrong: np.ndarray, unknown: int) -> dict[str, int]:
    """What became of the events: sent = distinct + lost, received = distinct + duplicated.

    predictions: int[n], how many each event had that was sent; wrong: int[n], how many of these were wrong. A wrong one
    is received too; `unknown`, those of no event that was sent, count nowhere else.
    """
    received, distinct = int(predictions.sum()), int(np.count_nonzero(predictions))
    return {
        "sent": len(predictions),
        "received": received,
        "distinct": distinct,
        "lost": len(predictions) - distinct,
        "duplicated": received - distinct,
        "wrong": int(wrong.sum()),
        "unknown": unknown,
    }


# --- cost -------------------------------------------------------------------------------------------------------------


def cpu_seconds(time_ns: np.ndarray, cpu_s: np.ndarray, start_ns: int, end_ns: int) -> float | None:
    """User and system CPU seconds between two instants, from samples of a cumulative series, interpolated linearly.

    time_ns: int64[n], increasing; cpu_s: float[n]. None if the samples do not reach from start to end.
    """
    if len(time_ns) < 2 or not time_ns[0] <= start_ns < end_ns <= time_ns[-1]:
        return None
    # From the first sample on, because ns since the epoch exceed a float's 53 bits.
    since = np.asarray(time_ns, np.int64) - time_ns[0]
    at_start, at_end = np.interp([start_ns - time_ns[0], end_ns - time_ns[0]], since, cpu_s)
    return float(at_end - at_start)


def cost_per_event(time_ns: np.ndarray, cpu_s: np.ndarray, start_ns: int, end_ns: int, events: float) -> float | None:
    """CPU us an event, of `events` that were answered between two instants; see cpu_seconds. None for no event."""
    seconds = cpu_seconds(time_ns, cpu_s, start_ns, end_ns)
    return None if seconds is None or events <= 0 else 1e6 * seconds / events


# --- repetitions ------------------------------------------------------------------------------------------------------


@lru_cache
def t_quantile(freedom: float) -> float:
    """The factor of a two-sided 95 % confidence interval with this many degrees of freedom (at least 1)."""
    from scipy import special  # scipy.stats takes a second to import

    return float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2))


def t_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """The mean of a metric over repetitions, float[n], n >= 1, and its 95 % confidence interval (Student's t), same
    unit."""
    values = np.asarray(values, float)
    count, mean = len(values), float(np.mean(values))
    if count < 2:
        return Interval(mean, None, None, count)
    half = t_quantile(count - 1) * float(np.std(values, ddof=1)) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, count)


def log_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """The same of a positive metric: the geometric mean, and Student's t on the logarithms, so that no end is below 0.

    Raises ValueError for a value that is not more than 0.
    """
    values = np.asarray(values, float)
    if not (values > 0).all():
        raise ValueError(f"a value of {values.min():g} has no logarithm")
    mean, low, high, count = t_interval(np.log(values))
    if low is None or high is None:
        return Interval(math.exp(mean), None, None, count)
    return Interval(math.exp(mean), math.exp(low), math.exp(high), count)


def mean_interval(values: Sequence[float] | np.ndarray, plain: bool = False) -> Interval:
    """log_interval; t_interval of a metric that can be 0 or negative (`plain`), or where one of the values is."""
    return t_interval(values) if plain or min(values) <= 0 else log_interval(values)


def ratio_interval(first: list[float] | np.ndarray, second: list[float] | np.ndarray) -> Interval:
    """The ratio second / first of a positive metric's geometric means over repetitions, and its 95 % interval.

    Welch's t on the logarithms, its degrees of freedom (Welch-Satterthwaite) rounded down. No interval where one of
    both has a single repetition; n counts both.
    """
    logs = [np.log(np.asarray(values, float)) for values in (first, second)]
    difference, count = float(logs[1].mean() - logs[0].mean()), sum(map(len, logs))
    if min(map(len, logs)) < 2:
        return Interval(math.exp(difference), None, None, count)
    squares = [float(values.var(ddof=1)) / len(values) for values in logs]
    if not (error := sum(squares)):
        return Interval(math.exp(difference), math.exp(difference), math.exp(difference), count)
    freedom = error**2 / sum(square**2 / (len(values) - 1) for square, values in zip(squares, logs, strict=True))
    half = t_quantile(max(1, int(freedom + 1e-9))) * math.sqrt(error)
    return Interval(math.exp(difference), math.exp(difference - half), math.exp(difference + half), count)


# --- change over time -------------------------------------------------------------------------------------------------


def backlog(input_append_ms: np.ndarray, output_append_ms: np.ndarray, at_ms: np.ndarray) -> np.ndarray:
    """Events appended to the input and not yet answered, at the instants at_ms: int64[k]. All in ms, in order."""
    ahead = np.searchsorted(input_append_ms, at_ms, side="right")
    return ahead - np.searchsorted(output_append_ms, at_ms, side="right")


def slope(times_s: np.ndarray, values: np.ndarray) -> Interval:
    """The slope of values over time by least squares, per second, with its 95 % confidence interval over n blocks.

    times_s, values: float[k], k >= 3, evenly spread. Means of up to 20 consecutive blocks are fitted, not the values:
    neighbours in a queue are alike, and intervals from them would be too narrow (the method of batch means, Law,
    Simulation Modeling and Analysis, 9.5). Raises ValueError for fewer than 3 values.
    """
    if len(times_s) < 3:
        raise ValueError(f"a slope with an interval needs 3 values, not {len(times_s)}")
    blocks = np.array_split(np.arange(len(times_s)), min(BLOCKS, len(times_s)))
    times = np.array([times_s[block].mean() for block in blocks])
    means = np.array([values[block].mean() for block in blocks])
    offsets = times - times.mean()
    spread = float((offsets**2).sum())
    steepness = float((offsets * means).sum()) / spread
    residuals = means - means.mean() - steepness * offsets
    freedom = len(blocks) - 2
    half = t_quantile(freedom) * math.sqrt(float((residuals**2).sum()) / freedom / spread)
    return Interval(steepness, steepness - half, steepness + half, len(blocks))


def trend(values: np.ndarray) -> Interval:
    """By how much values change from the first to the last, as a share of their mean, with its 95 % interval.

    values: float[k], k >= 3, of mean more than 0, of blocks of equal length; a line is fitted (slope).
    """
    line, scale = slope(np.arange(len(values), dtype=float), values), (len(values) - 1) / float(np.mean(values))
    low, high = (None if end is None else end * scale for end in (line.low, line.high))
    return Interval(line.mean * scale, low, high, line.n)


def drifts(change: Interval) -> bool:
    """Whether a window is not steady: a change over it is significant and at least 5 %, up or down."""
    if change.low is None or change.high is None:
        return False
    return change.low * change.high > 0 and abs(change.mean) >= DRIFT


def grows(backlog_slope: Interval) -> bool:
    """Whether a backlog grows: the 95 % confidence interval of its slope lies above 0."""
    return backlog_slope.low is not None and backlog_slope.low > 0


def outage(appended_s: np.ndarray, start_s: float, until_s: float) -> float | None:
    """The longest time without a prediction of those that ended after start_s and began before until_s.

    appended_s: float[n], when predictions were appended, in order. One that lasts beyond until_s counts whole: what was
    due before is answered after it. None where no prediction came after start_s.
    """
    first = max(0, np.searchsorted(appended_s, start_s, side="right") - 1)
    lengths = np.diff(appended_s[first : np.searchsorted(appended_s, until_s) + 1])
    return float(lengths.max()) if len(lengths) else None


def recovery_time(
    due_s: np.ndarray, latencies_ms: np.ndarray, start_s: float, end_s: float, until_s: float
) -> float | None:
    """Seconds from the end of a disturbance until the system is as before it.

    due_s, latencies_ms: float[n], in order of due_s, nan where an event was lost; start_s, end_s: the burst or fault;
    until_s: how far the data may be used (the next burst, or the segment's end). Recovered is the first of five
    consecutive 1 s windows, by intended send time and counted from end_s, whose median is at most the p95 of the 30 s
    before start_s. None if that never comes, or if nothing was due before; a window without events is not recovered.
    """
    before = _known(latencies_ms[slice(*np.searchsorted(due_s, (start_s - BEFORE_S, start_s)))])
    windows = int(until_s - end_s)
    if not len(before) or windows < RECOVERED_WINDOWS:
        return None
    bound = float(np.quantile(before, 0.95))
    edges = np.searchsorted(due_s, end_s + np.arange(windows + 1))
    calm = 0
    for window, (first, last) in enumerate(itertools.pairwise(edges)):
        own = _known(latencies_ms[first:last])
        calm = calm + 1 if len(own) and float(np.median(own)) <= bound else 0
        if calm == RECOVERED_WINDOWS:
            return float(window + 1 - RECOVERED_WINDOWS)
    return None
