"""Write one format of a model; only the libraries of that format are imported."""

import argparse
from pathlib import Path

from crayfish.setup import formats
from crayfish.spec import errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--own", help="what it is, as JSON, if it is the user's own")
    parser.add_argument(
        "--source", type=Path, required=True, help="weights.npz; for mar the TorchScript, or ONNX, file"
    )
    parser.add_argument("--out", type=Path, required=True, help="its suffix tells the format")
    formats.convert(**vars(parser.parse_args()))


if __name__ == "__main__":
    errors.main(main)
