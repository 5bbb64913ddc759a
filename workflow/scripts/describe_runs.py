"""Every run's manifest on one page, HTML: warnings, accounting, manifests, packages."""

import argparse
from pathlib import Path

from crayfish.results import pages
from crayfish.spec import errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifests", type=Path, nargs="+", required=True, help="manifest.json of every run")
    parser.add_argument("--out", type=Path, required=True, help=".html")
    arguments = parser.parse_args()
    arguments.out.write_text(pages.runs_page(pages.read_manifests(arguments.manifests)))


if __name__ == "__main__":
    errors.main(main)
