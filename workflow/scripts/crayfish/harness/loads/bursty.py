"""Events at `rate`, and at `peak_rate` for `burst_s` after every `between_s`, as in the original.

The first `between_s` starts when the warm-up ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crayfish.harness.loads.constant import drive, due
from crayfish.spec.contracts import Load

if TYPE_CHECKING:
    from crayfish.spec.run_spec import Segment


def bursts(segment: Segment) -> list[tuple[float, float]]:
    """Start and end of every burst, s from the segment's start; the last one may be cut by the segment's end."""
    end, cycle = segment.warmup_s + segment.measure_s, segment.between_s + segment.burst_s
    first = segment.warmup_s + segment.between_s
    found: list[tuple[float, float]] = []
    while (start := first + len(found) * cycle) < end:
        found.append((start, min(start + segment.burst_s, end)))
    return found


LOAD = Load(due=due, drive=drive, bursts=bursts, positive=("rate", "peak_rate", "burst_s", "between_s"))
