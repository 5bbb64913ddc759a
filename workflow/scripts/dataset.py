"""Make one data set: OUT.npz, and beside it OUT.json, which says where it is from."""

import argparse
from pathlib import Path

from crayfish.setup import dataset
from crayfish.spec import errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the .npz file")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--pins", type=Path, help="Fashion-MNIST: YAML of file: sha256")
    kind.add_argument("--synthetic", action="store_true", help="a seeded set of the same shapes")
    parser.add_argument("--folder", type=Path, help="a folder that has Fashion-MNIST's files, plain or .gz")
    parser.add_argument("--seed", type=int, default=1, help="of the synthetic set")
    arguments = parser.parse_args()
    if arguments.synthetic:
        dataset.make_synthetic(arguments.out, arguments.seed)
    else:
        dataset.make_fashion_mnist(arguments.out, arguments.pins, arguments.folder)


if __name__ == "__main__":
    errors.main(main)
