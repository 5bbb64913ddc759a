"""No scoring: answers a constant. What is left of a run's cost is the stream processor's own and the codec's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from crayfish.run_spec import Job

FORMAT = None
EXTERNAL = False
ANSWER = 0.0


class Scorer:
    """Answers ANSWER for every output of every data point."""

    def __init__(self, job: Job):
        self._outputs = job.outputs
        self._one = np.full((1, job.outputs), ANSWER, np.float32)

    def __enter__(self) -> Scorer:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def score(self, batch: np.ndarray) -> np.ndarray:
        """float32[n, *input_shape] -> float32[n, outputs]"""
        return self._one if len(batch) == 1 else np.full((len(batch), self._outputs), ANSWER, np.float32)
