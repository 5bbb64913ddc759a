"""The models as a table, CSV: one row a model, with the size of its file in each format."""

import argparse
from pathlib import Path

from crayfish.results import models
from crayfish.spec import errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--training", type=Path, nargs="+", required=True, help="training.json of each model")
    parser.add_argument(
        "--file", nargs=3, action="append", default=[], metavar=("MODEL", "FORMAT", "PATH"), help="once a format"
    )
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    files = [(model, form, Path(path)) for model, form, path in arguments.file]
    models.write_table(arguments.training, files, arguments.out)


if __name__ == "__main__":
    errors.main(main)
