"""TensorFlow SavedModel, in process: its signature "serving_default" by a session's prepared call.

The session of TensorFlow 1, which loads every SavedModel, calls a graph in less than half of the time of the signature
as a Python function (195 against 460 us for one data point of the FFNN), and in half of that again where the calling
thread runs the operations (inter_op_parallelism_threads -1). On the CPU `scorer_threads` threads an operation.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from crayfish.engine import answers
from crayfish.spec.contracts import Scorer
from crayfish.spec.errors import CrayfishError

if TYPE_CHECKING:
    import numpy as np

    from crayfish.spec.run_spec import Job


class SavedModelScorer:
    """One session on the job's SavedModel folder."""

    def __init__(self, job: Job):
        self._job = job

    def __enter__(self) -> SavedModelScorer:
        """Load the model into a session; CrayfishError if that fails."""
        on_gpu = self._job.spec.device != "cpu"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1" if on_gpu else "2")  # a library that lacks is a warning
        if not on_gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        import tensorflow as tf

        if on_gpu and not tf.config.list_physical_devices("GPU"):
            raise CrayfishError(
                f"savedmodel: run.device: TensorFlow {tf.__version__} sees no GPU; the log says why: mostly a library"
                " of CUDA that does not load, or a driver that is too old"
            )
        threads = self._job.spec.scorer_threads
        config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=-1)
        config.gpu_options.allow_growth = True  # else the first instance would take all of the GPU's memory
        self._session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        try:
            loaded = tf.compat.v1.saved_model.load(self._session, ["serve"], self._job.model_path)
        except (OSError, RuntimeError, ValueError, tf.errors.OpError) as error:
            self._session.close()
            raise CrayfishError(f"savedmodel: the model {self._job.model_path} cannot be loaded: {error}") from error
        signature, own = loaded.signature_def["serving_default"], self._job.spec.own
        (inputs,) = signature.inputs.values()
        answer = signature.outputs[own.output] if own else next(iter(signature.outputs.values()))
        self._plain = own is None
        self._call = self._session.make_callable(answer.name, [inputs.name])
        return self

    def __exit__(self, *error: object) -> None:
        self._session.close()

    def score(self, batch: np.ndarray) -> np.ndarray:
        """[n, *input_shape] -> float32[n, outputs]; ValueError for another shape."""
        answer = self._call(batch)
        return answer if self._plain else answers.rows(answer, len(batch), f"savedmodel: {self._job.model_path}")


SCORER = Scorer(
    display_name="SavedModel",
    marker="s",
    fill="#F0E442",
    open=SavedModelScorer,
    format="savedmodel",
    devices=("cpu", "cuda"),
    cuda_environment=True,
    original="-msm t",
)
