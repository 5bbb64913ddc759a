"""TorchServe by gRPC: raw float32 there and back. The server is crayfish.servers.torchserve."""

from __future__ import annotations

import numpy as np

from crayfish.remote import GrpcScorer

FORMAT = "mar"
EXTERNAL = True


class Scorer(GrpcScorer):
    """Its inference API's Predictions, with the events in the input `data`."""

    METHOD = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"

    def prepare(self, types: dict[str, type]) -> None:
        self._request = types["torchserve.PredictionsRequest"]
        self._parse = types["torchserve.PredictionResponse"].FromString

    def encode(self, batch: np.ndarray) -> bytes:
        return self._request(model_name=self._job.spec.model, input={"data": batch.tobytes()}).SerializeToString()

    def decode(self, response: bytes, points: int) -> np.ndarray:
        return np.frombuffer(self._parse(response).prediction, np.float32).reshape(points, -1)
