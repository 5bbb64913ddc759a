"""VGG19 (torchvision's, without batch norms): 224 x 224 x 3 -> 1000 logits, 143 667 240 parameters.

It is not trained here. Its weights are a seeded initialisation whose layers are scaled and shifted on images of the
data set, so that the logits differ from input to input; or the user's file of ImageNet weights (`weights` in the
config). What scoring costs does not depend on them.
"""

from crayfish.models import _imagenet
from crayfish.models._imagenet import INPUT_SHAPE, OUTPUTS
from crayfish.spec.contracts import GIB, Model

STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # channels, convolutions; a max-pooling behind each stage
HIDDEN = 4096
LAST_SHAPE = (512, 7, 7)  # channels, height, width of what the first dense layer reads


def build():
    """The torch module, seeded by torch's generator: float32[n, 224, 224, 3] -> float32[n, 1000]."""
    from torchvision.models import vgg19

    return _imagenet.wrap(vgg19(weights=None))


def train(module, data, seed: int) -> dict:
    """Scale and shift each layer, first to last, so that its channels have mean 0 and variance 1 on some images.

    Without it, the signal that tells one image from another fades from layer to layer. Returns training.json's fields.
    """
    import torch

    def normalise(layer, _, outputs):
        axes = [axis for axis in range(outputs.ndim) if axis != 1]
        mean, deviation = outputs.mean(axes), outputs.std(axes).clamp_min(1e-6)
        layer.weight /= deviation.view(-1, *[1] * (layer.weight.ndim - 1))
        layer.bias.copy_((layer.bias - mean) / deviation)
        aligned = (1, -1, *[1] * (outputs.ndim - 2))
        return (outputs - mean.view(aligned)) / deviation.view(aligned)

    layers = [part for part in module.modules() if isinstance(part, torch.nn.Conv2d | torch.nn.Linear)]
    hooks = [layer.register_forward_hook(normalise) for layer in layers]
    module.eval()
    with torch.no_grad():
        module(_imagenet.calibration_batch(data, seed))
    for hook in hooks:
        hook.remove()
    return {"accuracy": None, "weights": "seeded initialisation", "calibration_images": _imagenet.CALIBRATION}


def build_keras(weights):
    """The same as a tf_keras model, with these weights."""
    from tf_keras import Input, Model, layers

    first = values = Input(INPUT_SHAPE, name="input")
    number = 0  # of the module in torchvision's sequence
    for stage, (channels, convolutions) in enumerate(STAGES, start=1):
        for _ in range(convolutions):
            values = layers.ZeroPadding2D(1, name=f"pad{number}")(values)
            values = layers.Conv2D(channels, 3, activation="relu", name=f"features_{number}")(values)
            number += 2
        values = layers.MaxPooling2D(2, 2, name=f"maxpool{stage}")(values)
        number += 1
    values = layers.Flatten(name="flatten")(values)
    for name, width in (("classifier_0", HIDDEN), ("classifier_3", HIDDEN)):
        values = layers.Dense(width, activation="relu", name=name)(values)
    model = Model(first, layers.Dense(OUTPUTS, name="classifier_6")(values), name="vgg19")
    matrix = weights["network.classifier.0.weight"].reshape(HIDDEN, *LAST_SHAPE)
    return _imagenet.with_weights(
        model, {**weights, "network.classifier.0.weight": matrix.transpose(0, 2, 3, 1).reshape(HIDDEN, -1)}
    )


MODEL = Model(
    display_name="VGG19",
    input_shape=INPUT_SHAPE,
    outputs=OUTPUTS,
    formats=("torchscript", "mar", "onnx", "savedmodel", "h5"),
    pool=16,
    memory=3 * GIB,
    making_memory=4 * GIB,
    inputs=_imagenet.inputs,
    build=build,
    build_keras=build_keras,
    train=train,
    load=_imagenet.load,
    original="v",
)
