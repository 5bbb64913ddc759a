"""A trained model as TensorFlow SavedModel, for any batch size.

Its one signature, serving_default: "input" float32[n, *input shape] -> "logits" float32[n, outputs].
"""

import tensorflow as tf

from crayfish import models
from crayfish.spec import discovery, errors


def main() -> None:
    arguments = models.conversion(__doc__)
    model = models.restore_keras(arguments.model, arguments.weights)
    shape = discovery.model(arguments.model).input_shape
    archive = tf.Module()  # with the variables and the one signature alone, not with Keras's own functions
    archive.kept = model.variables
    archive.serve = tf.function(
        lambda batch: {"logits": model(batch, training=False)},
        input_signature=[tf.TensorSpec([None, *shape], tf.float32, name="input")],
    )
    tf.saved_model.save(archive, str(arguments.out), signatures={"serving_default": archive.serve})


if __name__ == "__main__":
    errors.main(main)
