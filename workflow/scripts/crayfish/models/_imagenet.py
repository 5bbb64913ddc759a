"""What the ImageNet models share: their inputs, an NHWC torch module around torchvision's, and weights for Keras.

Parameters are named as torchvision names them, behind "network.", so that an official file of ImageNet weights can be
loaded. A Keras layer has the name of its torch module with "_" for ".": so it finds its weights.
"""

from crayfish.spec.errors import CrayfishError

INPUT_SHAPE = (224, 224, 3)
OUTPUTS = 1000
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels, as torchvision's weights ask
CALIBRATION = 32  # images that set the statistics of an initialisation
PREFIX = "network."


def inputs(images):
    """uint8[n, 28, 28] -> float32[n, 224, 224, 3]: every pixel 8 x 8 times, on 3 channels, normalised as ImageNet."""
    import numpy as np

    large = images.repeat(8, axis=1).repeat(8, axis=2)[..., None].astype(np.float32) / np.float32(255)
    return (large - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)


def wrap(network):
    """A torch module that takes NHWC around one that takes NCHW."""
    from torch import nn

    class ChannelsLast(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, batch):
            return self.network(batch.permute(0, 3, 1, 2).contiguous())

    return ChannelsLast()


def load(module, path) -> dict:
    """Load a file of weights as torchvision publishes them; returns the fields that training.json tells of them.

    CrayfishError if it holds no weights of this model.
    """
    import pickle

    import torch

    try:
        module.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, pickle.UnpicklingError, EOFError, AttributeError, TypeError) as error:
        reason = str(error).strip().splitlines()
        raise CrayfishError(
            f"weights: {path} does not hold this model's weights as torchvision publishes them (a .pth of a state"
            f" dictionary): {' '.join(reason[:3]) or type(error).__name__}"
        ) from error
    return {"accuracy": None}


def calibration_batch(data, seed: int):
    """CALIBRATION of the test images, drawn by the seed, as a torch tensor."""
    import numpy as np
    import torch

    images = data["test_images"]
    return torch.from_numpy(inputs(images[np.random.default_rng(seed).choice(len(images), CALIBRATION, replace=False)]))


def with_weights(model, weights):
    """The Keras model, with torch's weights: kernels from [out, in, h, w] to [h, w, in, out], matrices transposed."""
    for layer in model.layers:
        name = PREFIX + layer.name.replace("_", ".")
        keys = [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        arrays = [weights[key] for key in keys if key in weights]
        if arrays:
            kernel = arrays[0]
            arrays[0] = kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T
            layer.set_weights(arrays)
    return model
