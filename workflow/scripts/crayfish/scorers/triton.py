"""Triton Inference Server by gRPC (KServe v2): raw values there and back. The server is crayfish.servers.triton."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crayfish.engine.remote import GrpcScorer
from crayfish.spec.contracts import Scorer

if TYPE_CHECKING:
    from typing import Any

    import numpy as np


DATATYPES = {"float32": "FP32", "float16": "FP16", "uint8": "UINT8", "int32": "INT32", "int64": "INT64"}


class TritonScorer(GrpcScorer):
    """ModelInfer with the tensors as raw contents."""

    METHOD = "/inference.GRPCInferenceService/ModelInfer"

    def prepare(self, types: dict[str, Any]) -> None:
        self._datatype = DATATYPES[self._job.spec.dtype]
        self._request = types["inference.ModelInferRequest"]
        self._parse = types["inference.ModelInferResponse"].FromString

    def encode(self, batch: np.ndarray) -> bytes:
        tensor = {"name": "input", "datatype": self._datatype, "shape": batch.shape}
        request = self._request(model_name=self._job.spec.model, inputs=[tensor], raw_input_contents=[batch.tobytes()])
        return request.SerializeToString()

    def decode(self, response: bytes, points: int) -> np.ndarray:
        return self.floats(self._parse(response).raw_output_contents[0], points)


SCORER = Scorer(
    display_name="Triton",
    marker="p",
    fill="#8fd08a",
    open=TritonScorer,
    unpacks_code=True,
    format="onnx",
    external=True,
    devices=("cpu", "cuda"),
    cuda_environment=True,
)
