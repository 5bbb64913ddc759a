"""Make one model's weights once: OUT/weights.npz, OUT/reference.npz and OUT/training.json."""

import argparse
from pathlib import Path

from crayfish.setup import training
from crayfish.spec import discovery, errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=discovery.names("models"), required=True)
    parser.add_argument("--data", type=Path, required=True, help="the data set's npz; its json lies beside it")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--weights", type=Path, help="the user's own file of weights, instead of a training")
    parser.add_argument("--sha256", help="of that file")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    training.train(**vars(parser.parse_args()))


if __name__ == "__main__":
    errors.main(main)
