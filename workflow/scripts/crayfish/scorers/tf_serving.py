"""TensorFlow Serving by gRPC: PredictionService.Predict, raw float32. The server is crayfish.servers.tf_serving."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from crayfish.engine.remote import GrpcScorer
from crayfish.spec.contracts import Scorer

if TYPE_CHECKING:
    from typing import Any

    import numpy as np

DT_FLOAT = 1


class TfServingScorer(GrpcScorer):
    """The signature serving_default; its input is named "input", as the project converts it."""

    METHOD = "/tensorflow.serving.PredictionService/Predict"

    def prepare(self, types: dict[str, Any]) -> None:
        self._tensor = types["tensorflow.TensorProto"]
        self._request = types["tensorflow.serving.PredictRequest"]
        self._parse = types["tensorflow.serving.PredictResponse"].FromString

    def encode(self, batch: np.ndarray) -> bytes:
        shape = {"dim": [{"size": size} for size in batch.shape]}
        tensor = self._tensor(dtype=DT_FLOAT, tensor_shape=shape, tensor_content=batch.tobytes())
        model = {"name": self._job.spec.model, "signature_name": "serving_default"}
        return self._request(model_spec=model, inputs={"input": tensor}).SerializeToString()

    def decode(self, response: bytes, points: int) -> np.ndarray:
        (output,) = self._parse(response).outputs.values()
        # The official server answers with float_val, unless told otherwise.
        return self.floats(output.tensor_content or array("f", output.float_val), points)


SCORER = Scorer(
    display_name="TensorFlow Serving",
    marker="<",
    fill="#8fd0f5",
    open=TfServingScorer,
    format="savedmodel",
    external=True,
    original="-msx t",
)
