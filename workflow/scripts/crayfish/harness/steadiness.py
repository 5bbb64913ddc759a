"""When a warm-up may end: once the latency no longer falls from one block of it to the next. Pure.

The sink tells the median latency of each slice of time. A block is the newest slices that hold BLOCK_SLICES answers at
different times, BLOCK_EVENTS events and BLOCK_S seconds, or the BLOCK_SHAREth part of what is past, if that is longer:
a fall that is slow shows between long blocks alone. Each may take longer at a low rate or in micro-batches. The newest
block is compared with the one before it, and the warm-up ends once LOOKS looks in a row, LOOK_S apart, saw no gain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import mannwhitneyu

BLOCK_S = 2.0
BLOCK_EVENTS = 20
BLOCK_SLICES = 4
BLOCK_SHARE = 4
LOOKS, LOOK_S = 2, 1.0  # a fall in noise hides from every second look
GAIN = 0.05  # of the median: a block that is faster by less shows a system that is warm
SIGNIFICANCE = 0.05  # a gain that chance alone would show this often, or more often, is no reason for a warning


@dataclass(frozen=True)
class Slice:
    """What the sink has seen in a moment of a segment: its end (s from the segment's start), how many events were
    answered in it, and their median latency (ms)."""

    end_s: float
    events: int
    latency_ms: float


@dataclass(frozen=True)
class Gain:
    """By how much of its latency the newest block is faster than the one before, and whether that is significant."""

    share: float
    significant: bool


def gain(slices: list[Slice]) -> Gain | None:
    """The gain of the newest block of some slices, in order of time, those without an answer left out.

    None where they do not make two blocks.
    """
    edges = [len(slices)]
    for _ in range(2):
        first = _block_before(slices, edges[-1])
        if first is None:
            return None
        edges.append(first)
    new, old = ([each.latency_ms for each in slices[a:b]] for a, b in zip(edges[1:], edges, strict=False))
    chance = float(mannwhitneyu(new, old, alternative="less").pvalue)
    return Gain(1 - float(np.median(new) / np.median(old)), chance < SIGNIFICANCE)


def _block_before(slices: list[Slice], end: int) -> int | None:
    """Where the block begins that ends before slice number `end`; None where there is none."""
    events, least_s = 0, max(BLOCK_S, slices[-1].end_s / BLOCK_SHARE) if slices else BLOCK_S
    for first in range(end - 1, -1, -1):
        events += slices[first].events
        began_s = slices[first - 1].end_s if first else 0.0
        whole = end - first >= BLOCK_SLICES and events >= BLOCK_EVENTS
        if whole and slices[end - 1].end_s - began_s >= least_s:
            return first
    return None


class Warmup:
    """A warm-up of least_s to most_s seconds, of events that come at a rate (events/s), as it goes on.

    A gain extends it whether it is significant or not: a look more costs a second, a window that is not steady a
    measurement. `ends_s` is None until it is decided; `steady` is False where it ends at the bound with a gain that is
    significant. A load of so few events that two blocks do not fit into most_s is not judged: it takes least_s.
    """

    def __init__(self, least_s: float, most_s: float, rate: float):
        self._least_s, self._most_s, self._slices = least_s, most_s, list[Slice]()
        self._next_s = least_s - (LOOKS - 1) * LOOK_S  # when it is looked at again
        self._gainless = 0  # looks in a row
        self.steady = True
        judged = most_s > least_s and 2 * max(BLOCK_S, BLOCK_EVENTS / rate) <= most_s
        self.ends_s: float | None = None if judged else least_s

    def add(self, end_s: float, events: int, latency_ms: float | None) -> None:
        """What the sink has told of the time up to end_s."""
        if events and latency_ms is not None:
            self._slices.append(Slice(end_s, events, latency_ms))
        if self.ends_s is not None or end_s < self._next_s:
            return
        found = gain(self._slices)
        if found is not None:
            self._gainless = self._gainless + 1 if found.share < GAIN else 0
            self._next_s = min(end_s + LOOK_S, self._most_s)
        if self._gainless >= LOOKS and end_s >= self._least_s:
            self.ends_s = min(end_s, self._most_s)
        elif end_s >= self._most_s:
            self.ends_s = self._most_s
            self.steady = found is None or found.share < GAIN or not found.significant
