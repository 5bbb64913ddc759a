"""Write the configuration of a results folder: as YAML, which snakemake --configfile takes, and as a page."""

import argparse
import json
from pathlib import Path

from crayfish.results import pages
from crayfish.spec import errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=json.loads, required=True, help="JSON")
    parser.add_argument("--out", type=Path, required=True, help=".yaml")
    parser.add_argument("--html", type=Path, required=True)
    arguments = parser.parse_args()
    text = pages.configuration_yaml(arguments.config)
    arguments.out.write_text(text)
    arguments.html.write_text(pages.configuration_page(text))


if __name__ == "__main__":
    errors.main(main)
