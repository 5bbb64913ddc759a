"""The feed-forward network of the original: 784-32-32-32-32-10, ReLU, logits out, 28 618 parameters.

Its inputs are images of bytes, scaled to [0, 1]. Training is repeatable: one seed gives one set of weights.
"""

from itertools import pairwise

from crayfish.spec.contracts import GIB, Model

INPUT_SHAPE = (28, 28)
OUTPUTS = 10

LAYERS = (784, 32, 32, 32, 32, OUTPUTS)
EPOCHS = 10
BATCH = 128
LEARNING_RATE = 3e-3


def inputs(images):
    """uint8[n, 28, 28] -> float32[n, 28, 28] in [0, 1]"""
    import numpy as np

    return images.astype(np.float32) / np.float32(255)


def build():
    """The torch module, with torch's own initial weights: float32[n, 28, 28] -> float32[n, 10]."""
    from torch import nn

    layers = [nn.Flatten()]
    for size, outputs in pairwise(LAYERS):
        layers += [nn.Linear(size, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def build_keras(weights):
    """The same as a tf_keras model, with these weights."""
    from tf_keras import Input, Model, layers

    inputs = Input(INPUT_SHAPE, name="input")
    outputs = layers.Flatten(name="flatten")(inputs)
    last = len(LAYERS) - 2
    dense = [layers.Dense(n, None if i == last else "relu", name=f"fc{i}") for i, n in enumerate(LAYERS[1:])]
    for layer in dense:
        outputs = layer(outputs)
    for index, layer in enumerate(dense):
        layer.set_weights([weights[f"{2 * index + 1}.weight"].T, weights[f"{2 * index + 1}.bias"]])
    return Model(inputs, outputs, name="ffnn")


def train(module, data, seed: int) -> dict:
    """Train on train_images uint8[n, 28, 28] and train_labels uint8[n]; returns training.json's fields.

    Its accuracy, 0 to 1, is that on test_images and test_labels.
    """
    import torch

    def tensors(part):
        images, labels = data[f"{part}_images"], data[f"{part}_labels"]
        return torch.from_numpy(images).float() / 255, torch.from_numpy(labels).long()

    images, labels = tensors("train")
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(module.parameters())
    steps = EPOCHS * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images), generator=order).split(BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(images[chosen]), labels[chosen]).backward()
            optimizer.step()
            schedule.step()
    images, labels = tensors("test")
    with torch.no_grad():
        accuracy = (module(images).argmax(1) == labels).float().mean().item()
    settings = {"epochs": EPOCHS, "batch": BATCH, "learning_rate": LEARNING_RATE}
    return {"accuracy": round(accuracy, 6), "weights": "trained", **settings}


MODEL = Model(
    display_name="FFNN",
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
    accuracy={"fashion_mnist": 0.86},
    original="f",
)
