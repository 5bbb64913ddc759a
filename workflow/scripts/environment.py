"""Deploy one pinned environment: OUT/python starts its interpreter, OUT/packages.json tells what is in it.

Under conda this runs inside the environment that Snakemake made; else by any python3, which needs no package.
"""

import argparse
from pathlib import Path

from crayfish.setup import environments
from crayfish.spec import errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--yaml", type=Path, required=True, help="the conda environment file that holds the pins")
    parser.add_argument("--builders", type=Path, help="the same of what builds the packages that have no wheel")
    parser.add_argument("--deployment", choices=["conda", "uv"], required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the environment")
    arguments = parser.parse_args()
    environments.deploy(arguments.yaml, arguments.out, arguments.deployment, arguments.builders)


if __name__ == "__main__":
    errors.main(main)
