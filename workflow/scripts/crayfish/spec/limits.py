"""What holds for the verification of a model's formats and for runs alike: how far an answer may be from torch's, and
how many threads a library may take."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

TOLERANCE = 1e-4  # of the range of the right answers
HALF_TOLERANCE = 1e-2  # the same of a model that takes or gives float16
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def allowed_difference(answers: np.ndarray, tolerance: float = TOLERANCE) -> float:
    """By how much a logit may differ from the right answers, float32[n, outputs]."""
    return tolerance * (float(answers.max() - answers.min()) or 1.0)


def thread_variables(threads: int) -> dict[str, str]:
    """The environment variables that limit the threads of numerical libraries, for a process that starts."""
    return dict.fromkeys(THREAD_VARIABLES, str(threads))
