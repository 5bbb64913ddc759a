"""TEMPLATE: one fully connected layer, 784-10, logits out. Say here what the model is and how its weights are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crayfish.spec.contracts import GIB, Model

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

INPUT_SHAPE = (28, 28)
OUTPUTS = 10
STEPS, BATCH, LEARNING_RATE = 400, 256, 3e-3


def inputs(images: np.ndarray) -> np.ndarray:
    """uint8[n, 28, 28] -> float32[n, 28, 28] in [0, 1]"""
    return images.astype("float32") / 255


def build() -> Any:
    """The torch module: float32[n, 28, 28] -> float32[n, 10]."""
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, OUTPUTS))


def build_keras(weights: Mapping[str, np.ndarray]) -> Any:
    """The same as a tf_keras model, with these weights."""
    from tf_keras import Input, Model, layers

    first = Input(INPUT_SHAPE, name="input")
    dense = layers.Dense(OUTPUTS, name="fc")
    last = dense(layers.Flatten(name="flatten")(first))
    dense.set_weights([weights["1.weight"].T, weights["1.bias"]])
    return Model(first, last, name="TEMPLATE")


def train(module: Any, data: Mapping[str, np.ndarray], seed: int) -> dict:
    """Train on data: train_images and test_images uint8[n, 28, 28], labels uint8[n]; accuracy is 0 to 1 (test)."""
    import torch

    def tensors(part: str) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = inputs(data[f"{part}_images"]), data[f"{part}_labels"]
        return torch.from_numpy(images), torch.from_numpy(labels).long()

    images, labels = tensors("train")
    order, optimizer = torch.Generator().manual_seed(seed), torch.optim.Adam(module.parameters(), LEARNING_RATE)
    for _ in range(STEPS):
        chosen = torch.randint(len(images), (BATCH,), generator=order)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(images[chosen]), labels[chosen]).backward()
        optimizer.step()
    images, labels = tensors("test")
    with torch.no_grad():
        accuracy = (module(images).argmax(1) == labels).float().mean().item()
    return {"accuracy": round(accuracy, 6), "weights": "trained"}


MODEL = Model(
    display_name="TEMPLATE",
    input_shape=INPUT_SHAPE,
    outputs=OUTPUTS,
    formats=("npz", "torchscript", "mar", "onnx", "savedmodel", "h5"),
    pool=256,
    memory=0,  # nothing beside the libraries' own
    making_memory=1 * GIB,
    inputs=inputs,
    build=build,
    build_keras=build_keras,
    train=train,
    accuracy={"fashion_mnist": 0.75},
)
