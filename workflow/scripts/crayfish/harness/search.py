"""The search for a system's sustainable rate: which rate is probed next, and whether a probe was sustained. Pure.

A rate is sustained if the p99 latency, from the intended send time, is at most the objective and the backlog does not
grow: the 95 % confidence interval of its slope includes 0 or lies below. A rate has failed when two probes of it
did, since one alone may be a moment's. Rates double until one fails, then the gap is halved geometrically until it is
narrower than RESOLUTION; the highest sustained rate is confirmed by a longer probe, which decides by itself: where it
fails, a lower rate is to be confirmed, each time by a larger step.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from crayfish.harness.health import LATE_SHARE
from crayfish.spec import metrics

RESOLUTION = 1.1  # the highest sustained and the lowest failed rate are closer than this factor
LOWEST = 0.01  # events/s
SAMPLE_MS = 100  # of the backlog


@dataclass(frozen=True)
class Probe:
    """One probe and what came out: rate in events/s, latency in ms, slope of the backlog in events/s."""

    rate: float
    confirming: bool
    sustained: bool
    reason: str  # why it was not sustained, or ""
    p99_ms: float | None
    growth: float | None
    late_share: float  # of the events that the generator sent later than its bound


def next_rate(probes: list[Probe], first: float) -> tuple[float, bool] | None:
    """The rate to probe next and whether that is to confirm it; None where the search has ended.

    It has ended when the newest probe has confirmed its rate, or when no rate down to LOWEST was sustained.
    """
    if not probes:
        return first, False
    last, tried = probes[-1], [(probe.rate, probe.confirming) for probe in probes]
    if last.sustained and last.confirming:
        return None
    if not last.sustained and not last.confirming and tried.count(tried[-1]) == 1:
        return tried[-1]
    sustained = {(probe.rate, probe.confirming) for probe in probes if probe.sustained}
    failed = {each for each in tried if each not in sustained}
    if not failed:
        return 2 * max(rate for rate, _ in sustained), False
    lowest = min(rate for rate, _ in failed)
    if confirmations := sum(confirming for _, confirming in failed):
        lower = lowest / RESOLUTION**confirmations
        return (lower, True) if lower >= LOWEST else None
    held = max((rate for rate, _ in sustained if rate < lowest), default=0.0)
    if not held:
        return (lowest / 2, False) if lowest / 2 >= LOWEST else None
    return (held, True) if lowest / held <= RESOLUTION else ((held * lowest) ** 0.5, False)


def judge(
    rate: float,
    confirming: bool,
    objective_ms: float,
    due_ns: np.ndarray,
    sent_ns: np.ndarray,
    received_ns: np.ndarray,
    input_append_ms: np.ndarray,
    output_append_ms: np.ndarray,
    window_start_ns: int,
    lateness_bound_ms: float,
) -> Probe:
    """What a probe says of its rate, from its events, int64[n] each, in order of due time.

    All of them were answered. Only events due from window_start_ns on count, but the backlog counts all. Where too few
    came for a p99, the largest latency stands for it.
    """
    measured = due_ns >= min(window_start_ns, due_ns[-1])  # the last event at least
    late_share = metrics.late_share((sent_ns[measured] - due_ns[measured]) / 1e6, lateness_bound_ms)
    latencies = np.sort((received_ns[measured] - due_ns[measured]) / 1e6)
    p99 = metrics.percentile(latencies, metrics.PER_MILLE["p99"])
    at_ms = np.arange(window_start_ns // 1_000_000, due_ns[-1] // 1_000_000, SAMPLE_MS)
    growth = None
    if len(at_ms) >= 3:
        waiting = metrics.backlog(input_append_ms, output_append_ms, at_ms)
        growth = metrics.slope(at_ms / 1000, waiting)
    reasons = {
        f"p99 is above {objective_ms:g} ms": (latencies[-1] if p99 is None else p99) > objective_ms,
        "the backlog grows": growth is not None and metrics.grows(growth),
    }
    reason = "; ".join(text for text, holds in reasons.items() if holds)
    return Probe(rate, confirming, not reason, reason, p99, growth and growth.mean, late_share)


def result(probes: list[Probe]) -> dict:
    """The sustainable rate, events/s (0 where none was sustained), and all probes, for the manifest."""
    last = probes[-1]
    rate = last.rate if last.confirming and last.sustained else 0.0
    return {"sustainable_events_per_s": rate, "probes": [asdict(probe) for probe in probes]}


def warnings_of(probes: list[Probe]) -> list[str]:
    """What makes a search's result doubtful, as sentences."""
    found = []
    if not result(probes)["sustainable_events_per_s"]:
        found.append(f"no rate was sustained, down to {probes[-1].rate:g} events/s: {probes[-1].reason}")
    late_share = max((probe.late_share for probe in probes if not probe.sustained), default=0.0)
    if late_share > LATE_SHARE:
        found.append(
            f"where a rate was not sustained the load generator itself was late for up to {late_share:.0%} of the"
            " events: the system may sustain more"
        )
    return found
