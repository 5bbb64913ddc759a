"""ONNX Runtime, in process; on the CPU `scorer_threads` threads an operator.

On a GPU (run.device) every node of the model is computed there, or the scorer is refused: left alone, ONNX Runtime
would take the CPU for what it cannot do on the GPU, and say so in a warning at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crayfish.engine import answers
from crayfish.spec.contracts import Scorer
from crayfish.spec.errors import CrayfishError

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime

    from crayfish.spec.run_spec import Job


PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# Of a model's operators those that compute on shapes, which ONNX Runtime itself keeps on the CPU.
OF_SHAPES = {"Cast", "Concat", "Gather", "Reshape", "Shape", "Slice", "Squeeze", "Unsqueeze"}


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
        device = self._job.spec.device
        if device != "cpu":
            prepare_gpu(options, PROVIDERS[device])
        try:
            session = onnxruntime.InferenceSession(self._job.model_path, options, providers=[PROVIDERS[device]])
        except Exception as error:  # onnxruntime's errors have no common base class but Exception
            raise CrayfishError(f"onnx: the model {self._job.model_path} cannot be loaded: {error}") from error
        if device != "cpu":
            require_gpu(session, PROVIDERS[device])
        own = self._job.spec.own
        outputs = {each.name: each for each in session.get_outputs()}
        output = outputs[own.output] if own else next(iter(outputs.values()))
        self._run, self._plain = session.run, output.type == "tensor(float)" and len(output.shape) == 2
        self._input, self._outputs = session.get_inputs()[0].name, [output.name]
        return self

    def __exit__(self, *error: object) -> None:
        self._run = None

    def score(self, batch: np.ndarray) -> np.ndarray:
        """[n, *input_shape] -> float32[n, outputs]; onnxruntime's exceptions for another shape."""
        answer = self._run(self._outputs, {self._input: batch})[0]
        return answer if self._plain else answers.rows(answer, len(batch), f"onnx: {self._job.model_path}")


def prepare_gpu(options: onnxruntime.SessionOptions, provider: str) -> None:
    """Load CUDA's libraries, and let a session tell where each node is; CrayfishError if there is no such provider."""
    import onnxruntime

    if provider not in (there := onnxruntime.get_available_providers()):
        raise CrayfishError(
            f"onnx: run.device: this onnxruntime {onnxruntime.__version__} has no {provider} (it has:"
            f" {', '.join(there)}): its package must be onnxruntime-gpu, as in the environments *_cuda"
        )
    onnxruntime.preload_dlls()  # of the environment's own packages
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")


def require_gpu(session: onnxruntime.InferenceSession, provider: str) -> None:
    """CrayfishError unless the session computes the whole model by this provider."""
    if session.get_providers()[0] != provider:
        raise CrayfishError(
            f"onnx: run.device: onnxruntime could not start its {provider} and has taken"
            f" {', '.join(session.get_providers())}; the log says why: mostly a library of CUDA that does not load, or"
            " a driver that is too old"
        )
    session.disable_fallback()  # of a call that fails there
    elsewhere = {
        node.op_type
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
        if part.ep_name != provider
    }
    if elsewhere - OF_SHAPES:
        raise CrayfishError(
            f"onnx: run.device: {provider} has no {', '.join(sorted(elsewhere - OF_SHAPES))} for this model, which"
            " onnxruntime would compute on the CPU: use another model, or run.device 'cpu'"
        )


SCORER = Scorer(
    display_name="ONNX Runtime",
    marker="o",
    fill=None,
    open=OnnxScorer,
    format="onnx",
    devices=tuple(PROVIDERS),
    cuda_environment=True,
    original="-msm o",
)
