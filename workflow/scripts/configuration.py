"""Write the configuration that a results folder was made with: as YAML, which --configfile takes, and as a page."""

import argparse
import html
import json
from pathlib import Path

import yaml

from crayfish.results import page
from crayfish.spec import errors

HEAD = "# The whole configuration of these results, defaults and command line included: snakemake --configfile FILE\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=json.loads, required=True, help="JSON")
    parser.add_argument("--out", type=Path, required=True, help=".yaml")
    parser.add_argument("--html", type=Path, required=True)
    arguments = parser.parse_args()
    text = HEAD + yaml.safe_dump(arguments.config, sort_keys=False, default_flow_style=None, width=110)
    arguments.out.write_text(text)
    arguments.html.write_text(page.page("Configuration", f"<h1>Configuration</h1>\n<pre>{html.escape(text)}</pre>"))


if __name__ == "__main__":
    errors.main(main)
