"""The models: one module a model, which declares a Model (crayfish.spec.contracts); and what their conversions share.

torch and tf_keras are imported inside the functions of a module, so that its declaration can be read in any
environment.
"""

import argparse
from pathlib import Path

from crayfish.spec import discovery, memory


def conversion(description: str) -> argparse.Namespace:
    """The command line of a script that makes one format of a model: model, weights (npz), out.

    CrayfishError if the machine has not the memory for it; a large model waits until no other is being made.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", choices=discovery.names("models"), required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    memory.require_making(arguments.model, "a conversion")
    return arguments


def restore(name: str, weights: Path):
    """A model's torch module with the weights of an npz, ready to score: what every format is made from."""
    import numpy as np
    import torch

    module = discovery.model(name).build()
    with np.load(weights) as arrays:
        module.load_state_dict({key: torch.from_numpy(array) for key, array in arrays.items()})
    return module.eval()


def restore_keras(name: str, weights: Path):
    """A model as tf_keras model with the weights of an npz: what TensorFlow's and Keras's formats are made from."""
    import numpy as np

    with np.load(weights) as arrays:
        return discovery.model(name).build_keras(dict(arrays))
