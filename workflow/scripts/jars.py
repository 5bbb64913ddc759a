"""Put one set of Maven artifacts into a flat folder of jars, or, with --lock, rewrite the set's pins."""

import argparse
import functools
from pathlib import Path

from crayfish.setup import jars
from crayfish.spec import errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", type=Path, required=True, help="the YAML file of the set")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--out", type=Path, help="folder of the jars")
    action.add_argument("--lock", action="store_true", help="rewrite the set's pins (part of `make lock`)")
    parser.add_argument("--mirror", help="URL of a Maven repository instead of Maven Central")
    arguments = parser.parse_args()
    if arguments.lock:
        jars.lock(arguments.set)
    else:
        fetch = functools.partial(jars.download, mirror=arguments.mirror or None)
        jars.assemble(arguments.set, arguments.out, fetch)


if __name__ == "__main__":
    errors.main(main)
