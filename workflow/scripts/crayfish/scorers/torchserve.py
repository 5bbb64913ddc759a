"""TorchServe by gRPC: raw float32 there and back. The server is crayfish.servers.torchserve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crayfish.engine.remote import GrpcScorer
from crayfish.spec.contracts import Scorer

if TYPE_CHECKING:
    from typing import Any

    import numpy as np


class TorchServeScorer(GrpcScorer):
    """Its inference API's Predictions, with the events in the input `data`."""

    METHOD = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"

    def prepare(self, types: dict[str, Any]) -> None:
        self._request = types["torchserve.PredictionsRequest"]
        self._parse = types["torchserve.PredictionResponse"].FromString

    def encode(self, batch: np.ndarray) -> bytes:
        return self._request(model_name=self._job.spec.model, input={"data": batch.tobytes()}).SerializeToString()

    def decode(self, response: bytes, points: int) -> np.ndarray:
        return self.floats(self._parse(response).prediction, points)


SCORER = Scorer(
    display_name="TorchServe",
    marker="P",
    fill="#e8503a",
    open=TorchServeScorer,
    format="mar",
    external=True,
    original="-msx s",
)
