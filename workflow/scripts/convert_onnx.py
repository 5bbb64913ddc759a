"""A trained model as ONNX, for any batch size: "input" float32[n, *input shape] -> "logits" float32[n, outputs]."""

import torch

from crayfish import models
from crayfish.spec import discovery, errors

OPSET = 17


def main() -> None:
    arguments = models.conversion(__doc__)
    torch.onnx.export(
        models.restore(arguments.model, arguments.weights),
        (torch.zeros(2, *discovery.model(arguments.model).input_shape),),
        arguments.out,
        dynamo=False,
        opset_version=OPSET,
        input_names=["input"],
        output_names=["logits"],
        dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
    )


if __name__ == "__main__":
    errors.main(main)
