"""The feed-forward network of the original: 784-32-32-32-32-10, ReLU, logits out, 28 618 parameters."""
INPUT_SHAPE = (28, 28)
OUTPUTS = 10
FORMATS = ("npz", "torchscript", "onnx")
