"""The models: one module a model, discovered from the files here.

A module holds
    INPUT_SHAPE     of one data point, without the batch axis
    OUTPUTS         how many logits a data point gets
    FORMATS         the formats that it is made in: "npz", "torchscript", "onnx", ...
    ACCURACY        {dataset: the test accuracy that its training must reach}
    POOL            how many inputs reference.npz holds
    MEMORY          bytes that one instance of it needs in a run
    MAKING_MEMORY   bytes that its training or one conversion needs
    inputs(images)  uint8[n, 28, 28] of the data set -> float32[n, *INPUT_SHAPE]
    build()         the torch module (torch is imported inside), float32[n, *INPUT_SHAPE] -> float32[n, OUTPUTS]
    build_keras(weights)    the same as a tf_keras model, functional and NHWC, with these weights (dict of ndarrays, by
                    the names of the torch module's state); its layers' names begin with a letter, as DL4J asks
    train(module, data, seed) -> dict     makes its weights, in place; returns what the report tells: `accuracy` (null
                    if it has none), `weights` (where they come from), ...
    load(module, path) -> dict            the same from the user's own file of weights; optional
"""

import argparse
from importlib import import_module
from pathlib import Path

from crayfish import discovery, memory

FILE = {
    "npz": "weights.npz",
    "torchscript": "{model}.pt",
    "mar": "{model}.mar",
    "onnx": "{model}.onnx",
    "savedmodel": "{model}.savedmodel",
    "h5": "{model}.h5",
}


def file_of(name: str, form: str) -> str:
    """The file, or folder, of a model's format inside the model's folder."""
    return FILE[form].format(model=name)


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

    module = import_module(f"crayfish.models.{name}").build()
    with np.load(weights) as arrays:
        module.load_state_dict({key: torch.from_numpy(array) for key, array in arrays.items()})
    return module.eval()


def restore_keras(name: str, weights: Path):
    """A model as tf_keras model with the weights of an npz: what TensorFlow's and Keras's formats are made from."""
    import numpy as np

    with np.load(weights) as arrays:
        return import_module(f"crayfish.models.{name}").build_keras(dict(arrays))
