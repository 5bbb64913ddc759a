"""Write config/schema.yaml and the tables of docs/configuration.md from the declarations: `make schema`."""

import argparse

from crayfish.spec import documentation, errors


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    documentation.write()


if __name__ == "__main__":
    errors.main(main)
