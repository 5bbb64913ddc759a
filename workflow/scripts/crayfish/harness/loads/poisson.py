"""Events with exponentially distributed distances: `rate` of them a second in the mean, drawn by the run's seed."""

from __future__ import annotations

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

    generator = np.random.default_rng(seed)
    return pacing.drawn(segment, lambda count: generator.exponential(size=count))


LOAD = Load(due=due, drive=drive, stationary=True)
