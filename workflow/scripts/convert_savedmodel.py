"""A trained model as TensorFlow SavedModel, for any batch size.

Its one signature, serving_default: "input" float32[n, *input shape] -> "logits" float32[n, outputs].
"""

import argparse
from pathlib import Path

import tensorflow as tf

from crayfish import discovery, errors, memory, models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=discovery.names("models"), required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder")
    arguments = parser.parse_args()
    memory.require_making(arguments.model, "a conversion")
    model = models.restore_keras(arguments.model, arguments.weights)
    shape = discovery.load("models", arguments.model).INPUT_SHAPE
    archive = tf.Module()  # with the variables and the one signature alone, not with Keras's own functions
    archive.kept = model.variables
    archive.serve = tf.function(
        lambda batch: {"logits": model(batch, training=False)},
        input_signature=[tf.TensorSpec([None, *shape], tf.float32, name="input")],
    )
    tf.saved_model.save(archive, str(arguments.out), signatures={"serving_default": archive.serve})


if __name__ == "__main__":
    errors.main(main)
