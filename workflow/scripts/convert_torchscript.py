"""A trained model as TorchScript, for any batch size: float32[n, *input shape] -> float32[n, outputs]."""

import torch

from crayfish import models
from crayfish.spec import discovery, errors


def main() -> None:
    arguments = models.conversion(__doc__)
    example = torch.zeros(2, *discovery.model(arguments.model).input_shape)
    module = models.restore(arguments.model, arguments.weights)
    torch.jit.trace(module, example, check_trace=False).save(arguments.out)  # verify_format checks it


if __name__ == "__main__":
    errors.main(main)
