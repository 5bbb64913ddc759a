"""TEMPLATE by gRPC: raw float32 in both directions. The server is crayfish.servers.TEMPLATE."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crayfish.engine.remote import GrpcScorer
from crayfish.spec.contracts import Scorer

if TYPE_CHECKING:
    import numpy as np

METHOD = "/crayfish.TEMPLATE/Score"


class TemplateScorer(GrpcScorer):
    """One channel to the server; what a dead server means is in crayfish.engine.remote."""

    METHOD = METHOD

    def encode(self, batch: np.ndarray) -> bytes:
        return batch.tobytes()

    def decode(self, response: bytes, points: int) -> np.ndarray:
        return self.floats(response, points)


SCORER = Scorer(
    display_name="TEMPLATE",
    marker="p",
    fill="#f7d9a0",
    open=TemplateScorer,
    format="onnx",
    external=True,
)
