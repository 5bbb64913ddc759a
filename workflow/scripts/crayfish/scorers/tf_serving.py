"""TensorFlow Serving by gRPC: PredictionService.Predict, raw values. The server is crayfish.servers.tf_serving."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from crayfish.engine.remote import GrpcScorer
from crayfish.spec.contracts import Scorer

if TYPE_CHECKING:
    from typing import Any

    import numpy as np

# The numbers of TensorFlow's types.
DT = {"float32": 1, "float16": 19, "uint8": 4, "int32": 3, "int64": 9}


class TfServingScorer(GrpcScorer):
    """The signature serving_default; its input is named "input", as the project converts it, or as an own model has it.

    Of such a model the server is asked for the output that is taken, which it may give in any type of numbers.
    """

    METHOD = "/tensorflow.serving.PredictionService/Predict"

    def prepare(self, types: dict[str, Any]) -> None:
        own = self._job.spec.own
        self._input, self._dtype = own.input if own else "input", DT[self._job.spec.dtype]
        self._filter = [own.output] if own else []
        self._tensor = types["tensorflow.TensorProto"]
        self._request = types["tensorflow.serving.PredictRequest"]
        self._parse = types["tensorflow.serving.PredictResponse"].FromString

    def encode(self, batch: np.ndarray) -> bytes:
        shape = {"dim": [{"size": size} for size in batch.shape]}
        tensor = self._tensor(dtype=self._dtype, tensor_shape=shape, tensor_content=batch.tobytes())
        model = {"name": self._job.spec.model, "signature_name": "serving_default"}
        inputs = {self._input: tensor}
        return self._request(model_spec=model, inputs=inputs, output_filter=self._filter).SerializeToString()

    def decode(self, response: bytes, points: int) -> np.ndarray:
        (output,) = self._parse(response).outputs.values()
        if output.dtype not in (0, DT["float32"]):
            return self._converted(output, points)
        # The official server answers with float_val, unless told otherwise.
        return self.floats(output.tensor_content or array("f", output.float_val), points)

    def _converted(self, output: Any, points: int) -> np.ndarray:
        """Numbers of another type, as the official server gives them, as float32[points, outputs]."""
        import numpy as np

        name, field = {2: ("f8", "double_val"), 9: ("i8", "int64_val"), 19: ("f2", "half_val")}.get(
            output.dtype, ("i4", "int_val")
        )
        values = np.array(getattr(output, field), "<u2").view("<f2") if name == "f2" else getattr(output, field)
        if output.tensor_content:
            values = np.frombuffer(
                output.tensor_content, {4: "u1", 6: "i1", 10: "?", 5: "<i2"}.get(output.dtype, f"<{name}")
            )
        return np.ascontiguousarray(values, np.float32).reshape(points, -1)


SCORER = Scorer(
    display_name="TensorFlow Serving",
    marker="<",
    fill="#8fd0f5",
    open=TfServingScorer,
    format="savedmodel",
    external=True,
    original="-msx t",
)
