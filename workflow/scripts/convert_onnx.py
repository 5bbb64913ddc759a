"""A trained model as ONNX, for any batch size: "input" float32[n, *input shape] -> "logits" float32[n, outputs]."""

import argparse
from pathlib import Path

import torch

from crayfish import discovery, errors, memory, models

OPSET = 17


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=discovery.names("models"), required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    memory.require_making(arguments.model, "a conversion")
    torch.onnx.export(
        models.restore(arguments.model, arguments.weights),
        (torch.zeros(2, *discovery.load("models", arguments.model).INPUT_SHAPE),),
        arguments.out,
        dynamo=False,
        opset_version=OPSET,
        input_names=["input"],
        output_names=["logits"],
        dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
    )


if __name__ == "__main__":
    errors.main(main)
