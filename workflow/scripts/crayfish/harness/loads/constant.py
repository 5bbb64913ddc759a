"""Events at equal distances: `rate` of them a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crayfish.spec.contracts import Load

if TYPE_CHECKING:
    import numpy as np

    from crayfish.harness.run import Run
    from crayfish.spec.run_spec import Segment


def due(segment: Segment, seed: int) -> np.ndarray:
    """See crayfish.spec.contracts.Load."""
    from crayfish.harness import pacing

    return pacing.where_integral_is(segment, pacing.counted(segment))


def drive(run: Run) -> None:
    """An open loop; see crayfish.harness.paced."""
    from crayfish.harness import paced

    paced.drive(run)


LOAD = Load(due=due, drive=drive, stationary=True)
