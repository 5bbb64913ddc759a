"""Make one of the two example models as its users have it: OUT/NAME.onnx and its samples, OUT/NAME.npy."""

import argparse
from pathlib import Path

from crayfish.setup import examples
from crayfish.spec import errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", choices=examples.EXAMPLES, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the folder of both files")
    examples.make(**vars(parser.parse_args()))


if __name__ == "__main__":
    errors.main(main)
