"""ResNet50 v1.5 (torchvision's): 224 x 224 x 3 -> 1000 logits, 25 557 032 parameters.

It is not trained here. Its weights are a seeded initialisation whose batch-norm statistics come from images of the data
set, so that the logits differ from input to input; or the user's file of ImageNet weights (`weights` in the config).
What scoring costs does not depend on them.
"""

from crayfish.models import _imagenet
from crayfish.models._imagenet import INPUT_SHAPE, OUTPUTS
from crayfish.spec.contracts import GIB, Model

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # channels inside a block, blocks
EXPANSION = 4
EPSILON = 1e-5


def build():
    """The torch module, seeded by torch's generator: float32[n, 224, 224, 3] -> float32[n, 1000]."""
    from torchvision.models import resnet50

    return _imagenet.wrap(resnet50(weights=None))


def train(module, data, seed: int) -> dict:
    """Set the batch norms' statistics to those of some images of the data set; returns training.json's fields."""
    import torch

    norms = [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # the statistics of this batch alone
    module.train()
    with torch.no_grad():
        module(_imagenet.calibration_batch(data, seed))
    return {"accuracy": None, "weights": "seeded initialisation", "calibration_images": _imagenet.CALIBRATION}


def build_keras(weights):
    """The same as a tf_keras model, with these weights."""
    from tf_keras import Input, Model, layers

    def convolved(values, name: str, norm: str, channels: int, kernel: int, stride: int = 1):
        if kernel > 1:
            values = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(values)
        values = layers.Conv2D(channels, kernel, stride, use_bias=False, name=name)(values)
        return layers.BatchNormalization(epsilon=EPSILON, name=norm)(values)

    def block(values, name: str, channels: int, stride: int, widened: bool):
        shortcut = values
        if widened:
            shortcut = convolved(
                values, f"{name}_downsample_0", f"{name}_downsample_1", EXPANSION * channels, 1, stride
            )
        for part, (width, kernel, step) in enumerate([(channels, 1, 1), (channels, 3, stride)], start=1):
            values = convolved(values, f"{name}_conv{part}", f"{name}_bn{part}", width, kernel, step)
            values = layers.Activation("relu", name=f"{name}_relu{part}")(values)
        values = convolved(values, f"{name}_conv3", f"{name}_bn3", EXPANSION * channels, 1)
        return layers.Activation("relu", name=f"{name}_out")(layers.Add(name=f"{name}_add")([values, shortcut]))

    first = Input(INPUT_SHAPE, name="input")
    values = layers.Activation("relu", name="relu")(convolved(first, "conv1", "bn1", 64, 7, 2))
    values = layers.ZeroPadding2D(1, name="maxpool_pad")(values)  # zeros are no maxima behind a ReLU
    values = layers.MaxPooling2D(3, 2, name="maxpool")(values)
    for stage, (channels, blocks) in enumerate(STAGES, start=1):
        for number in range(blocks):
            stride = 2 if stage > 1 and number == 0 else 1
            values = block(values, f"layer{stage}_{number}", channels, stride, widened=number == 0)
    values = layers.GlobalAveragePooling2D(name="avgpool")(values)
    return _imagenet.with_weights(Model(first, layers.Dense(OUTPUTS, name="fc")(values), name="resnet50"), weights)


MODEL = Model(
    display_name="ResNet50",
    input_shape=INPUT_SHAPE,
    outputs=OUTPUTS,
    formats=("torchscript", "mar", "onnx", "savedmodel", "h5"),
    pool=16,
    memory=1 * GIB,
    making_memory=2 * GIB,
    inputs=_imagenet.inputs,
    build=build,
    build_keras=build_keras,
    train=train,
    load=_imagenet.load,
    original="r",
)
