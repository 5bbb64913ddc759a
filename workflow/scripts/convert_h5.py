"""A trained model as Keras 2 H5, functional and NHWC, without an optimizer: what DL4J's KerasModelImport reads."""

from crayfish import models
from crayfish.spec import errors


def main() -> None:
    arguments = models.conversion(__doc__)
    model = models.restore_keras(arguments.model, arguments.weights)
    model.save(arguments.out, include_optimizer=False, save_format="h5")


if __name__ == "__main__":
    errors.main(main)
