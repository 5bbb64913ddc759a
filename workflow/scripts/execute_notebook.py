"""Execute a notebook, and write it with its outputs and as one HTML page that opens offline."""

import argparse
from pathlib import Path

from crayfish.results import notebook
from crayfish.spec import errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notebook", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True, help="the folder that holds tables/ and figures/")
    parser.add_argument("--out", type=Path, required=True, help="the executed notebook, .ipynb")
    parser.add_argument("--html", type=Path, required=True, help="the same as a page")
    arguments = parser.parse_args()
    notebook.execute(arguments.notebook, arguments.results, arguments.out, arguments.html)


if __name__ == "__main__":
    errors.main(main)
