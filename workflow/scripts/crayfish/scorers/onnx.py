"""ONNX Runtime, in process, on the CPU; `scorer_threads` threads an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crayfish.spec.contracts import Scorer
from crayfish.spec.errors import CrayfishError

if TYPE_CHECKING:
    import numpy as np

    from crayfish.spec.run_spec import Job


class OnnxScorer:
    """One inference session on the job's model file."""

    def __init__(self, job: Job):
        self._job = job

    def __enter__(self) -> OnnxScorer:
        """Make the session; CrayfishError if the model cannot be loaded."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._job.spec.scorer_threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(self._job.model_path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common base class but Exception
            raise CrayfishError(f"onnx: the model {self._job.model_path} cannot be loaded: {error}") from error
        self._run = session.run
        self._input, self._outputs = session.get_inputs()[0].name, [session.get_outputs()[0].name]
        return self

    def __exit__(self, *error: object) -> None:
        self._run = None

    def score(self, batch: np.ndarray) -> np.ndarray:
        """float32[n, *input_shape] -> float32[n, outputs]; onnxruntime's exceptions for another shape."""
        return self._run(self._outputs, {self._input: batch})[0]


SCORER = Scorer(
    display_name="ONNX Runtime",
    marker="o",
    fill=None,
    open=OnnxScorer,
    format="onnx",
    original="-msm o",
)
