"""TEMPLATE: events at a rate that grows evenly, from `rate` at the segment's start to `peak_rate` at its end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from crayfish.harness.loads.constant import drive
from crayfish.spec.contracts import Load

if TYPE_CHECKING:
    import numpy as np

    from crayfish.spec.run_spec import Segment


def due(segment: Segment, seed: int) -> np.ndarray:
    """When the integral of the rate reaches 0, 1, 2, ...: see crayfish.spec.contracts.Load."""
    import numpy as np

    from crayfish.harness.pacing import ROUNDING

    length_s, first = segment.warmup_s + segment.measure_s, segment.rate
    growth = (segment.peak_rate - first) / length_s  # events/s^2
    events = np.arange(math.ceil((first + segment.peak_rate) / 2 * length_s - ROUNDING), dtype=float)
    # The root of first * t + growth * t^2 / 2 = events, in the form that a growth of 0 does not divide by.
    times = 2 * events / (first + np.sqrt(first**2 + 2 * growth * events))
    return np.rint(times * 1e9).astype(np.int64)


LOAD = Load(due=due, drive=drive, positive=("rate", "peak_rate"))
