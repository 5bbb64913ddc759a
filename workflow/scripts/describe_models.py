"""The models as a table, CSV: one row a model; FORMAT_bytes is the size of its file, or of its folder's files."""

import argparse
import csv
import json
from pathlib import Path

from crayfish.spec import discovery, errors

FIELDS = ("model", "dataset", "inputs", "outputs", "parameters", "weights", "accuracy")


def size(path: Path) -> int:
    """Bytes of a file, or of all the files in a folder."""
    return (
        sum(each.stat().st_size for each in path.rglob("*") if each.is_file()) if path.is_dir() else path.stat().st_size
    )


def row_of(training: dict) -> dict:
    """What is told of a model; an accuracy that it has none of is empty."""
    model = discovery.model(training["model"])
    told = {name: training[name] for name in FIELDS if name in training}
    return {**told, "inputs": "x".join(map(str, model.input_shape)), "outputs": model.outputs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--training", type=Path, nargs="+", required=True, help="training.json of each model")
    parser.add_argument(
        "--file", nargs=3, action="append", default=[], metavar=("MODEL", "FORMAT", "PATH"), help="once a format"
    )
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = {row["model"]: row for row in (row_of(json.loads(path.read_text())) for path in arguments.training)}
    for model, form, path in arguments.file:
        rows[model][f"{form}_bytes"] = size(Path(path))
    sizes = dict.fromkeys(f"{form}_bytes" for _, form, _ in arguments.file)
    with arguments.out.open("w", newline="") as file:
        table = csv.DictWriter(file, [*FIELDS, *sizes], lineterminator="\n")
        table.writeheader()
        table.writerows(rows.values())


if __name__ == "__main__":
    errors.main(main)
