"""Triton Inference Server by gRPC (KServe v2): raw float32 there and back. The server is crayfish.servers.triton."""

from __future__ import annotations

import numpy as np

from crayfish.remote import GrpcScorer

FORMAT = "onnx"
EXTERNAL = True


class Scorer(GrpcScorer):
    """ModelInfer with the tensors as raw contents."""

    METHOD = "/inference.GRPCInferenceService/ModelInfer"

    def prepare(self, types: dict[str, type]) -> None:
        self._request = types["inference.ModelInferRequest"]
        self._parse = types["inference.ModelInferResponse"].FromString

    def encode(self, batch: np.ndarray) -> bytes:
        given = {"name": "input", "datatype": "FP32", "shape": batch.shape}
        request = self._request(model_name=self._job.spec.model, inputs=[given], raw_input_contents=[batch.tobytes()])
        return request.SerializeToString()

    def decode(self, response: bytes, points: int) -> np.ndarray:
        return np.frombuffer(self._parse(response).raw_output_contents[0], np.float32).reshape(points, -1)
