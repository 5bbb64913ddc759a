"""Events with exponentially distributed distances: `rate` of them a second in the mean, drawn by the run's seed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from crayfish.harness.loads.constant import drive
from crayfish.spec.contracts import Load

if TYPE_CHECKING:
    import numpy as np

    from crayfish.spec.run_spec import Segment


def due(segment: Segment, seed: int) -> np.ndarray:
    """See crayfish.spec.contracts.Load."""
    import numpy as np

    from crayfish.harness import pacing

    total, generator = pacing.integral(segment)[1][-1], np.random.default_rng(seed)
    sums = np.zeros(0)
    while not len(sums) or sums[-1] < total:
        draws = generator.exponential(size=int(total + 6 * math.sqrt(total)) + 16)
        sums = np.concatenate([sums, np.cumsum(draws) + (sums[-1] if len(sums) else 0.0)])
    return pacing.where_integral_is(segment, sums[sums < total])


LOAD = Load(due=due, drive=drive, stationary=True)
