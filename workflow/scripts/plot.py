"""One figure from one table: --kind KIND --table CSV --out NAME.svg NAME.pdf NAME.png, and its caption, --caption FILE.

The kinds are the functions of crayfish/plots.py that carry its decorator. Equal tables give equal files, byte for byte.
"""

import argparse
from pathlib import Path

import matplotlib

from crayfish import errors, plots
from crayfish.errors import CrayfishError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=list(plots.KINDS), required=True)
    parser.add_argument("--table", type=Path, required=True, help="a table of tabulate.py")
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="files, .svg .pdf .png")
    parser.add_argument("--caption", type=Path, help="where the caption goes, reStructuredText")
    arguments = parser.parse_args()
    table = plots.read_table(arguments.table)
    if not len(table):
        raise CrayfishError(f"{arguments.table}: the table is empty, there is nothing to draw")
    with matplotlib.rc_context(plots.STYLE):
        figure = plots.KINDS[arguments.kind].draw(table)
    for path in arguments.out:
        plots.save(figure, path)
    if arguments.caption:
        arguments.caption.write_text(plots.caption(arguments.kind, table))


if __name__ == "__main__":
    errors.main(main)
