"""Pin every package of every environment: envs/*.in to envs/*.yaml (`make lock`)."""

import argparse
from pathlib import Path

from crayfish.setup import locking
from crayfish.spec import errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--envs", type=Path, default=Path("envs"), help="the folder of both")
    parser.add_argument("--only", nargs="+", default=[], help="these alone; the pins of all others stay")
    locking.lock(**vars(parser.parse_args()))


if __name__ == "__main__":
    errors.main(main)
