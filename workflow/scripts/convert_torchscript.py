"""A trained model as TorchScript, for any batch size: float32[n, *input shape] -> float32[n, outputs]."""

import argparse
from pathlib import Path

import torch

from crayfish import discovery, errors, memory, models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=discovery.names("models"), required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    memory.require_making(arguments.model, "a conversion")
    example = torch.zeros(2, *discovery.load("models", arguments.model).INPUT_SHAPE)
    module = models.restore(arguments.model, arguments.weights)
    torch.jit.trace(module, example, check_trace=False).save(arguments.out)  # verify_format checks it


if __name__ == "__main__":
    errors.main(main)
