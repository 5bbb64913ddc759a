"""TEMPLATE: fully connected layers with ReLU between them, by numpy.

The model is its weights: for each layer, in order, a matrix float32[outputs, inputs] and a bias float32[outputs].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crayfish.spec.contracts import Scorer
from crayfish.spec.errors import CrayfishError

if TYPE_CHECKING:
    import numpy as np

    from crayfish.spec.run_spec import Job


class TemplateScorer:
    """The layers of one model; it belongs to one thread."""

    def __init__(self, job: Job):
        self._job = job
        self._layers: list[tuple[np.ndarray, np.ndarray]] = []

    def __enter__(self) -> TemplateScorer:
        import numpy as np

        path = str(self._job.model_path)
        try:
            with np.load(path) as arrays:
                values = list(arrays.values())
        except Exception as error:  # numpy raises many kinds for a file that is none of its own
            raise CrayfishError(f"TEMPLATE: the model {path} cannot be loaded: {error}") from error
        self._layers = [(matrix.T, bias) for matrix, bias in zip(values[::2], values[1::2], strict=True)]
        return self

    def __exit__(self, *error: object) -> None:
        self._layers = []

    def score(self, batch: np.ndarray) -> np.ndarray:
        """float32[n, *input_shape] -> float32[n, outputs]"""
        values = batch.reshape(len(batch), -1)
        for matrix, bias in self._layers[:-1]:
            values = (values @ matrix + bias).clip(0)
        matrix, bias = self._layers[-1]
        return values @ matrix + bias


SCORER = Scorer(
    display_name="TEMPLATE",
    marker="h",
    fill="#f2b8d0",
    open=TemplateScorer,
    format="npz",
)
