"""Whether a prediction is the right one: the comparison with the answers that are known for the pool's inputs."""

from __future__ import annotations

import numpy as np

from crayfish.spec import discovery
from crayfish.spec.events import PROBE, codec_of
from crayfish.spec.limits import TOLERANCE, allowed_difference
from crayfish.spec.run_spec import Job


def right_answers(job: Job, outputs: np.ndarray) -> np.ndarray:
    """float32[pool, outputs]: what the run's scorer must answer for each input of the pool.

    outputs: the model's own answers, of the same shape.
    """
    answer = discovery.scorer(job.spec.scorer).answer
    return outputs if answer is None else np.full_like(outputs, answer)


class Checker:
    """Compares predictions with the right answers, float32[pool, outputs]."""

    def __init__(self, job: Job, answers: np.ndarray):
        self._codec = codec_of(job)
        self._answers = answers
        own = job.spec.own
        self._allowed = allowed_difference(answers, own.tolerance if own else TOLERANCE)

    def check(self, values: list[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of each message: its sequence (-1 if it is no prediction), whether it is a probe's, whether it is right, and
        when its event was due (wall clock, ns).

        Right means that no value is further off than allowed, which implies the right class unless the answer itself
        ties.
        """
        sequences, due_ns = np.full(len(values), -1, np.int64), np.zeros(len(values), np.int64)
        probes, correct = np.zeros(len(values), bool), np.zeros(len(values), bool)
        for indices, headers, outputs in self._codec.read_predictions(values):
            points = outputs.shape[1]
            images = (headers["sequence"][:, None] * points + np.arange(points)) % len(self._answers)
            sequences[indices], due_ns[indices] = headers["sequence"], headers["due_ns"]
            probes[indices] = (headers["flags"] & PROBE) != 0
            wrong = np.abs(outputs - self._answers[images]) > self._allowed
            correct[indices] = ~(wrong | np.isnan(outputs)).any(axis=(1, 2))
        return sequences, probes, correct, due_ns
