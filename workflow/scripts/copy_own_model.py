"""Copy a file, or a SavedModel's folder, of a model of the user's own; it must have the sum that was planned with."""

import argparse
from pathlib import Path

from crayfish.spec import errors, own_models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--sha256", required=True)
    parser.add_argument("--out", type=Path, required=True)
    own_models.copy(**vars(parser.parse_args()))


if __name__ == "__main__":
    errors.main(main)
