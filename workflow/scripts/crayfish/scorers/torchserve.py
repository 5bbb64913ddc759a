"""TorchServe by gRPC: raw values there, float32 back. The server is crayfish.servers.torchserve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from crayfish.engine.remote import GrpcScorer
from crayfish.spec.contracts import Scorer

if TYPE_CHECKING:
    from typing import Any

    import numpy as np


class TorchServeScorer(GrpcScorer):
    """Its inference API's Predictions, with the events in the input `data`."""

    METHOD = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The token of a server of the run's own, which is another one when it is started again."""
        if self._job.server_key_file is None:
            return ()
        token = json.loads(Path(self._job.server_key_file).read_text())["inference"]["key"]
        return (("authorization", f"Bearer {token}"),)

    def gone(self, error) -> bool:
        """Also a server that was started again, as long as its token is not told."""
        refused = self._job.server_key_file and error.code() == self._grpc.StatusCode.PERMISSION_DENIED
        return bool(refused) or super().gone(error)

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
    devices=("cpu", "cuda"),
    original="-msx s",
)
