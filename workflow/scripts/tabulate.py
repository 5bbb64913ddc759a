"""Summaries of runs to one table, CSV; crayfish/results/tabulation.py says which columns and rows a part has."""

import argparse
import json
from pathlib import Path

from crayfish.results import tabulation
from crayfish.spec import errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", required=True, help="its name, the first column")
    parser.add_argument("--part", choices=list(tabulation.PARTS), default="means")
    parser.add_argument("--summaries", type=Path, nargs="+", required=True, help="summary.json of every run")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    summaries = [json.loads(path.read_text()) for path in arguments.summaries]
    tabulation.tabulate(arguments.experiment, summaries, arguments.part).write_csv(arguments.out)


if __name__ == "__main__":
    errors.main(main)
