"""Deeplearning4j, in process through JPype: its own importer reads the Keras H5; `scorer_threads` threads a process.

The inputs are as Keras has them (NHWC). One input array is refilled as long as the batch size stays, and logits are
read from where DL4J left them: no value is converted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crayfish.engine import jvm
from crayfish.scorers import nd4j
from crayfish.spec.contracts import Scorer
from crayfish.spec.errors import CrayfishError

if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    from crayfish.spec.run_spec import Job


class Dl4jScorer:
    """The job's model as a ComputationGraph."""

    def __init__(self, job: Job):
        self._job = job
        self._values: Any = None  # the memory of the input array, float32[n, *input_shape]

    def __enter__(self) -> Dl4jScorer:
        """Start the JVM, import the model and score one point; CrayfishError if any of that fails."""
        nd4j.start(self._job)
        import jpype
        import numpy as np

        self._ndarray, self._float32 = np.ndarray, np.float32
        self._array_of = jpype.JArray(jpype.JClass("org.nd4j.linalg.api.ndarray.INDArray"))
        importer = jpype.JClass("org.deeplearning4j.nn.modelimport.keras.KerasModelImport")
        try:
            self._output = importer.importKerasModelAndWeights(self._job.model_path, False).output
            self.score(np.zeros((1, *self._job.input_shape), np.float32))
        except jpype.JException as error:
            raise CrayfishError(
                f"dl4j: the model {self._job.model_path} cannot be loaded: {jvm.reason(error)}"
            ) from error
        return self

    def __exit__(self, *error: object) -> None:
        self._output = self._values = self._inputs = None

    def _prepare(self, shape: tuple[int, ...]) -> None:
        array, self._values = nd4j.allocate(shape)
        self._inputs = self._array_of([array])

    def score(self, batch: np.ndarray) -> np.ndarray:
        """float32[n, *input_shape] -> float32[n, outputs]; CrayfishError if the model answers another shape."""
        if self._values is None or len(batch) != len(self._values):
            self._prepare(batch.shape)
        self._values[...] = batch
        answer = self._output(False, self._inputs)[0]
        rows, columns = len(batch), self._job.outputs
        if answer.length() != rows * columns:
            raise CrayfishError(f"dl4j: the model {self._job.model_path} does not answer {columns} values a data point")
        steps = (4 * int(answer.stride(0)), 4 * int(answer.stride(1)))
        outputs = self._ndarray(
            (rows, columns), self._float32, nd4j.memory(answer, rows * columns), strides=steps
        ).copy()
        answer.close()
        return outputs


SCORER = Scorer(
    display_name="DL4J",
    marker="D",
    fill="#000000",
    open=Dl4jScorer,
    unpacks_code=True,
    format="h5",
    own_process=True,
    jars=nd4j.JARS,
    jvm_options=nd4j.JVM_OPTIONS,
    original="-msm d",
)
