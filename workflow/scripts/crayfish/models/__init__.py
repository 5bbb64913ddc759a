"""The models: one module a model, discovered from the files here.

A module holds
    INPUT_SHAPE     of one data point, without the batch axis
    OUTPUTS         how many logits a data point gets
    FORMATS         the formats that it is made in: "npz", "torchscript", "onnx", ...
    build()         the torch module (torch is imported inside), float32[n, *INPUT_SHAPE] -> float32[n, OUTPUTS]
    train(module, data, seed) -> dict     trains it in place; returns what the report tells (accuracy, epochs, ...)
"""
