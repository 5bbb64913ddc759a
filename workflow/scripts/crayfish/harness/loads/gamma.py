"""Events whose distances have a gamma distribution of the given `shape`: `rate` of them a second in the mean, drawn by
the run's seed. A shape of 1 is `poisson`; below it events come in clusters, above it more evenly.
"""

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

    generator, shape = np.random.default_rng(seed), segment.shape
    return pacing.drawn(segment, lambda count: generator.gamma(shape, 1 / shape, size=count))


LOAD = Load(due=due, drive=drive, positive=("rate", "shape"), stationary=True)
