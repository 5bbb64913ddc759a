"""Compile one Java source into a jar."""

import argparse
from pathlib import Path

from crayfish.setup import java
from crayfish.spec import errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--jars", type=Path, nargs="*", default=[], help="what it is compiled against")
    parser.add_argument("--compiler", type=Path, required=True, help="ecj's jar")
    parser.add_argument("--java", required=True, help="the program java, 17 or newer")
    parser.add_argument("--out", type=Path, required=True)
    java.compile_jar(**vars(parser.parse_args()))


if __name__ == "__main__":
    errors.main(main)
