"""TorchScript, in process; on the CPU `scorer_threads` threads a process."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from crayfish.engine import answers
from crayfish.spec.contracts import Scorer
from crayfish.spec.errors import CrayfishError

if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    from crayfish.spec.run_spec import Job


class TorchScriptScorer:
    """The job's model file as a scripted module, optimised for inference."""

    def __init__(self, job: Job):
        self._job = job

    def __enter__(self) -> TorchScriptScorer:
        """Load the module; CrayfishError if that fails."""
        import torch

        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # events are only read
        torch.set_num_threads(self._job.spec.scorer_threads)
        self._device = self._job.spec.device
        if self._device != "cpu":
            require_gpu()
        try:
            module = torch.jit.load(self._job.model_path, map_location=self._device).eval()
        except (RuntimeError, OSError, ValueError) as error:
            raise CrayfishError(f"torchscript: the model {self._job.model_path} cannot be loaded: {error}") from error
        self._own = self._job.spec.own
        if self._own:
            needed = [each.name for each in module.forward.schema.arguments[1:] if not each.has_default_value()]
            if len(needed) > 1:
                raise CrayfishError(
                    f"torchscript: {self._job.model_path} has {len(needed)} inputs, {', '.join(needed)}; allowed: one"
                )
        self._module = torch.jit.optimize_for_inference(module)
        self._from_numpy, self._inference_mode = torch.from_numpy, torch.inference_mode
        return self

    def __exit__(self, *error: object) -> None:
        self._module = None

    def score(self, batch: np.ndarray) -> np.ndarray:
        """[n, *input_shape] -> float32[n, outputs]; RuntimeError for another shape."""
        with self._inference_mode():
            points = self._from_numpy(batch)
            if self._device == "cpu":
                answer = self._module(points)
                return answer.numpy() if self._own is None else self._rows(answer, len(batch), self._own.output)
            answer = self._module(points.to(self._device))
            return answer.cpu().numpy() if self._own is None else self._rows(answer, len(batch), self._own.output)

    def _rows(self, answer: Any, points: int, output: str) -> np.ndarray:
        where = f"torchscript: {self._job.model_path}"
        tensor = answers.chosen(answer, output, where)
        return answers.rows(tensor.cpu().numpy() if hasattr(tensor, "numpy") else tensor, points, where)


def require_gpu() -> None:
    """CrayfishError, with torch's own reason, unless it can compute on a GPU."""
    import torch

    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # the latter of a torch without CUDA
        raise CrayfishError(
            f"torchscript: run.device: torch {torch.__version__} cannot use a GPU: {str(error).splitlines()[0]}"
        ) from error


SCORER = Scorer(
    display_name="TorchScript",
    marker="^",
    fill="#E69F00",
    open=TorchScriptScorer,
    format="torchscript",
    devices=("cpu", "cuda"),
)
