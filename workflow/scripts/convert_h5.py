"""A trained model as Keras 2 H5, functional and NHWC, without an optimizer: what DL4J's KerasModelImport reads."""

import argparse
from pathlib import Path

from crayfish import discovery, errors, memory, models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=discovery.names("models"), required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    memory.require_making(arguments.model, "a conversion")
    model = models.restore_keras(arguments.model, arguments.weights)
    model.save(arguments.out, include_optimizer=False, save_format="h5")


if __name__ == "__main__":
    errors.main(main)
