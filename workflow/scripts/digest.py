"""One readable table over all experiments, CSV; crayfish/results/digests.py says what each digest holds."""

import argparse
from pathlib import Path

from crayfish.results import digests
from crayfish.results.tables import read_table
from crayfish.spec import errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digest", choices=list(digests.METRICS), required=True)
    parser.add_argument("--tables", type=Path, nargs="+", required=True, help="tables of tabulate.py, means or series")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    tables = [read_table(path) for path in arguments.tables]
    digests.digest(arguments.digest, tables).write_csv(arguments.out)


if __name__ == "__main__":
    errors.main(main)
