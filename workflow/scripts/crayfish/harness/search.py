"""The search for a system's sustainable rate: how it warms up, which rate is probed next, what the probes say. Pure.

A saturated warm-up gives the capacity C, the rate at which bursts are drained, once that no longer rises. Short probes
then go round the rate that the results so far tell, from C / 2 to 1.1 C. A probe fails an objective if its p99 latency,
from the intended send time, is above it, or if it was overloaded: its backlog grew significantly, and by more than
MOST_GROWTH of the rate. No verdict is final: all probes go into one monotone fit of log(p99 / objective) against the
rate, bounded so that one extreme value counts no more than another; in effect a rate fails when more than half of the
trials round it do (RFC 9971, MLRsearch). Where the fit crosses 0 is the rate; its interval comes from a bootstrap of
the probes, each time with the gap between the last rate that holds and the first that fails, and with the distance at
which probes are set. One set of probes serves several objectives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from crayfish.harness.health import LATE_SHARE
from crayfish.spec import metrics

OBJECTIVES_MS = (100.0, 300.0, 1000.0)  # told of every search, beside its own objective
# --- the warm-up: bursts, each drained before the next
BURST_S = 4.0  # about how long a burst takes to drain, once the rate is known
BURST_BYTES = 2_000_000  # of the first burst
GROWTH_OF_BURSTS = 8  # the next burst is larger by that at most
STEADY = 1.05  # a burst that was drained faster by less than that ends the warm-up
WARMUP_S = 60.0  # of draining, at most
# --- the probes
LOWEST, HIGHEST = 0.5, 1.1  # of C: what is probed
FIRST = 0.8  # of C: the first probe
FARTHER = 1.25  # a step to rates that no probe has bracketed
CLOSE = 1.06  # a bracket narrower than that is not halved: both of its sides get more trials
ASIDE = 1.03  # how far from the estimate those are
SAMPLE_MS = 100  # of the backlog
BLOCKS = 6  # of the backlog's samples: as long as the batches of an engine, so that neighbours are not alike
MOST_GROWTH = 0.01  # of a backlog, as a share of the rate: less is no overload
# --- the fit
BOUND = 1.0  # of log(p99 / objective)
RESAMPLES = 1000


# --- the warm-up ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Burst:
    """A burst and how it was drained: events, s, events/s."""

    events: int
    seconds: float
    rate: float


def next_burst(bursts: Sequence[Burst], event_bytes: int, partitions: int, most_bytes: float) -> int | None:
    """How many events the next burst has; None where the warm-up has ended.

    It has ended when two bursts of full length were drained at rates less than 5 % apart, or not faster, and at the
    latest after WARMUP_S of draining. event_bytes, partitions: of the run; most_bytes: of a burst.
    """
    if not bursts:
        return max(partitions, BURST_BYTES // event_bytes)
    last, most = bursts[-1], max(partitions, int(most_bytes / event_bytes))
    whole = [burst.rate for burst in bursts if burst.seconds >= BURST_S / 2 or burst.events >= most]
    if len(whole) > 1 and whole[-1] < STEADY * max(whole[:-1]):
        return None
    if sum(burst.seconds for burst in bursts) > WARMUP_S:
        return None
    return max(partitions, min(GROWTH_OF_BURSTS * last.events, int(last.rate * BURST_S), most))


def drained(due_ns: np.ndarray, output_append_ms: np.ndarray, partition: np.ndarray) -> Burst:
    """How a burst was drained, from its events, int64[n] each, n > 0.

    The rate counts from when half of it was answered, so that the generator has long ended, until the first partition
    was empty; over all of it where that leaves too little.
    """
    ends = [output_append_ms[partition == number].max() for number in np.unique(partition)]
    ordered = np.sort(output_append_ms)
    inside = ordered[len(ordered) // 2 : np.searchsorted(ordered, min(ends), side="right")]
    seconds = max(1, ordered[-1] - due_ns.min() // 1_000_000) / 1000
    part = metrics.throughput(inside) if len(inside) >= len(ordered) / 8 else None
    return Burst(len(ordered), float(seconds), part or metrics.throughput(ordered) or len(ordered) / float(seconds))


# --- a probe ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """One probe and what came out: rate, growth of the backlog in events/s, latency in ms."""

    rate: float
    p99_ms: float  # the largest latency, where too few events came for a p99
    growth: float | None  # None where it was too short to tell
    overloaded: bool  # the backlog grew significantly and by more than MOST_GROWTH, or the probe was cut off
    cut: bool  # cut off, since latency and backlog both climbed; or not drained in time
    late_share: float | None = None  # of the events that came late into the input topic, which is known after the run

    @property
    def capacity(self) -> float | None:
        """What an overloaded system answers, events/s: the rate without what piled up."""
        return self.rate - self.growth if self.overloaded and self.growth else None

    def score(self, objective_ms: float) -> float:
        """log(p99 / objective), bounded: above 0 it fails."""
        if self.overloaded:
            return BOUND
        return float(np.clip(np.log(max(self.p99_ms, 1e-3) / objective_ms), -BOUND, BOUND))

    def told(self, objective_ms: float) -> str:
        """The verdict in words."""
        if self.overloaded:
            return f"overloaded{', cut off' if self.cut else ''}: backlog {self.growth or 0:+.0f} events/s"
        verdict = "fails" if self.score(objective_ms) > 0 else "sustained"
        return f"{verdict}: p99 {self.p99_ms:.0f} of {objective_ms:g} ms"


def judge(
    rate: float,
    due_ns: np.ndarray,
    received_ns: np.ndarray,
    output_append_ms: np.ndarray,
    window_start_ns: int,
    cut: bool = False,
) -> Probe:
    """What came out of a probe, from its events, int64[n] each, in order of due time; all of them were answered.

    Only events due from window_start_ns on count, but all in the backlog, which is what is due and not yet answered; of
    a probe that was cut off, all.
    """
    start_ns = due_ns[0] if cut else min(window_start_ns, due_ns[-1])  # the last event at least
    measured = due_ns >= start_ns
    latencies = np.sort((received_ns[measured] - due_ns[measured]) / 1e6)
    p99 = metrics.percentile(latencies, metrics.PER_MILLE["p99"])
    at_ms = np.arange(start_ns // 1_000_000, due_ns[-1] // 1_000_000, SAMPLE_MS)
    growth = None
    if len(at_ms) >= BLOCKS:
        blocks = np.array_split(np.arange(len(at_ms)), BLOCKS)
        waiting = metrics.backlog(metrics.truncated_ms(due_ns), np.sort(output_append_ms), at_ms)
        growth = metrics.slope(
            np.array([at_ms[block].mean() for block in blocks]) / 1000,
            np.array([waiting[block].mean() for block in blocks]),
        )
    grown = growth is not None and metrics.grows(growth) and growth.mean > MOST_GROWTH * rate
    return Probe(
        rate,
        float(latencies[-1] if p99 is None else p99),
        growth.mean if growth else None,
        bool(cut or grown),
        cut,
    )


def climbs(objective_ms: float, seen: Sequence[tuple[float, int]]) -> bool:
    """Whether a probe may be cut off: it is so far behind that it fails, and latency and backlog both climb.

    objective_ms: the largest one. seen: the progress so far: the median latency of the newest answers, ms, and how many
    events were sent and not yet answered.
    """
    last = np.array(seen[-4:], float)
    return len(last) == 4 and last[-1, 0] > 2 * objective_ms and bool((np.diff(last, axis=0) > 0).all())


# --- what the probes say ----------------------------------------------------------------------------------------------


def crossing(rates: np.ndarray, scores: np.ndarray) -> tuple[float, float, float]:
    """Where a monotone fit of scores, float[n], against rates, float[n], crosses 0: the last rate that holds (0.0 where
    none does), the crossing, and the first rate that fails (inf where none does). n > 0."""
    from scipy.optimize import isotonic_regression

    places, where, trials = np.unique(rates, return_inverse=True, return_counts=True)
    fit = isotonic_regression(np.bincount(where, scores) / trials, weights=trials).x
    first = int(np.searchsorted(fit, 0.0, side="right"))
    if first == 0:
        return 0.0, 0.0, float(places[0])
    if first == len(places):
        return float(places[-1]), float(places[-1]), np.inf
    held, failed = places[first - 1], places[first]
    share = -fit[first - 1] / (fit[first] - fit[first - 1])
    return float(held), float(held * (failed / held) ** share), float(failed)


def _crossing(probes: Sequence[Probe], objective_ms: float) -> tuple[float, float, float]:
    return crossing(
        np.array([probe.rate for probe in probes]), np.array([probe.score(objective_ms) for probe in probes])
    )


def next_rate(probes: Sequence[Probe], capacity: float, objectives_ms: Sequence[float]) -> float:
    """The rate to probe next, events/s. capacity: C; objectives_ms: the search's own first; every other probe is for
    that one, those between for the others in turn.

    Rates lie between C / 2 and 1.1 C. What contradicts C moves it: the capacities that overloaded probes tell; the
    range goes up where its highest rate holds, and down where its lowest fails the search's own objective.
    """
    if not probes:
        return FIRST * capacity
    own, *others = objectives_ms
    turn = len(probes)
    objective = others[turn // 2 % len(others)] if others and turn % 2 else own
    told = [probe.capacity for probe in probes if probe.capacity]
    usual = float(np.median([capacity, *told]))
    held, rate, failed = _crossing(probes, objective)
    if not held and objective != own and failed <= CLOSE * LOWEST * usual:  # it is not met in the range
        objective = own
        held, rate, failed = _crossing(probes, objective)
    if not held:
        lower = max(failed / FARTHER**2, LOWEST * usual)
        return lower if lower < failed / ASIDE else _lower(probes, objective, failed)
    if np.isinf(failed):
        top = HIGHEST * usual
        return min(FARTHER * held, top) if held < top / ASIDE else FARTHER * held
    if failed > CLOSE * held:
        return float((held * failed) ** 0.5)
    failures = [probe.score(objective) > 0 for probe in probes if 1 / FARTHER < probe.rate / rate < FARTHER]
    return rate * ASIDE if 2 * sum(failures) < len(failures) else rate / ASIDE  # as many of each


def _lower(probes: Sequence[Probe], objective_ms: float, failed: float) -> float:
    """Where the lowest rate of the range has failed: once more, and below it if most of its trials failed."""
    trials = [probe.score(objective_ms) > 0 for probe in probes if failed / ASIDE < probe.rate < failed * ASIDE]
    return failed / FARTHER**2 if len(trials) > 1 else failed


def estimate(probes: Sequence[Probe], objective_ms: float) -> dict[str, float | None]:
    """The highest rate that meets an objective, events/s, and its 95 % interval: {rate, low, high}.

    rate is None and low 0 where no probe met it; high is None where none failed. Both ends are further out
    by the distance at which probes are set from the estimate: closer than that, nothing was tried.
    """
    held, rate, failed = _crossing(probes, objective_ms)
    ordered = sorted(probes, key=lambda probe: probe.rate)
    scores = np.array([probe.score(objective_ms) for probe in ordered])
    drawn = np.random.default_rng(1).multinomial(len(ordered), np.full(len(ordered), 1 / len(ordered)), RESAMPLES)
    # Where a monotone fit is above 0 begins after the smallest of the sums of all scores up to a rate.
    sums = np.cumsum(np.insert(drawn * scores, 0, 0.0, axis=1), axis=1)
    edges = np.array([0.0, *(probe.rate for probe in ordered), ordered[-1].rate])
    last_held, next_failed = np.argmin(sums, axis=1), len(edges) - 1 - np.argmin(sums[:, ::-1], axis=1)
    outside = (1 - metrics.CONFIDENCE) / 2
    low = min(held, float(np.quantile(edges[last_held], outside, method="inverted_cdf")))
    high = max(failed, float(np.quantile(edges[next_failed], 1 - outside, method="inverted_cdf")))
    return {"rate": rate or None, "low": low / ASIDE, "high": None if np.isinf(high) else high * ASIDE}


def objectives(own_ms: float) -> tuple[float, ...]:
    """The search's own objective first, then the others that every search tells."""
    return (own_ms, *(each for each in OBJECTIVES_MS if each != own_ms))


def result(probes: Sequence[Probe], bursts: Sequence[Burst], own_ms: float) -> dict:
    """What a search found, for the manifest: the sustainable rate of its own objective, events/s (0 where none was
    sustained), every objective's {rate, low, high}, the capacity C, all bursts and probes, and which probe is shown
    (its number, from 0): the highest that sustained a rate up to the one that was found, or the lowest."""
    found = {f"{objective:g}": estimate(probes, objective) for objective in sorted(objectives(own_ms))}
    rate = found[f"{own_ms:g}"]["rate"] or 0.0
    numbers = range(len(probes))
    below = [number for number in numbers if probes[number].rate <= rate and probes[number].score(own_ms) <= 0]
    shown = max(below, key=lambda number: (probes[number].rate, number), default=None)
    if shown is None:
        shown = min(numbers, key=lambda number: probes[number].rate)
    return {
        "sustainable_events_per_s": rate,
        "objectives_ms": found,
        "capacity_events_per_s": bursts[-1].rate,
        "shown": shown,
        "bursts": [asdict(burst) for burst in bursts],
        "probes": [asdict(probe) for probe in probes],
    }


def warnings_of(probes: Sequence[Probe], found: dict, own_ms: float) -> list[str]:
    """What makes a search's result doubtful, as sentences. found: its result."""
    rate, capacity = found["sustainable_events_per_s"], found["capacity_events_per_s"]
    told = []
    if not rate:
        lowest = min(probes, key=lambda probe: probe.rate)
        told.append(f"no rate was sustained, down to {lowest.rate:.4g} events/s: {lowest.told(own_ms)}")
    elif found["objectives_ms"][f"{own_ms:g}"]["high"] is None:
        told.append(f"the search found no limit: up to {max(probe.rate for probe in probes):.4g} events/s none failed")
    if rate and not LOWEST <= rate / capacity <= FARTHER:
        told.append(
            f"the sustainable rate is {rate / capacity:.2g} of the rate at which the warm-up was drained,"
            f" {capacity:.4g} events/s"
        )
    failed = [probe for probe in probes if probe.score(own_ms) > 0]
    late = [probe.late_share for probe in failed if probe.late_share and probe.late_share > LATE_SHARE]
    if 2 * len(late) > len(failed):
        told.append(
            f"where a rate was not sustained the load generator itself was late for up to {max(late):.0%} of the"
            " events: the system may sustain more"
        )
    return told
