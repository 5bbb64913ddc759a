"""The models as a table, CSV: one row a model; FORMAT_bytes is the size of its file, or of its folder's files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from crayfish.spec import discovery

FIELDS = ("model", "dataset", "inputs", "outputs", "parameters", "weights", "accuracy")


def size(path: Path) -> int:
    """Bytes of a file, or of all the files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files if each.is_file())


def row_of(training: dict) -> dict[str, Any]:
    """A model's row from its training.json; an accuracy that it has none of is empty."""
    if "key" in training:  # of the user's own: it says itself what it takes
        return {name: training[name] for name in FIELDS}
    model = discovery.model(training["model"])
    known = {name: training[name] for name in FIELDS if name in training}
    return {**known, "inputs": "x".join(map(str, model.input_shape)), "outputs": model.outputs}


def write_table(trainings: Iterable[Path], files: Iterable[tuple[str, str, Path]], out: Path) -> None:
    """Write the table from each model's training.json and from (model, format, path) of every file that it is in."""
    told = [json.loads(path.read_text()) for path in trainings]
    rows = {each.get("key", each["model"]): row_of(each) for each in told}
    columns = list(FIELDS)
    for model, form, path in files:
        name = f"{form}_bytes"
        rows[model][name] = size(path)
        columns += [] if name in columns else [name]
    with out.open("w", newline="") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows.values())
