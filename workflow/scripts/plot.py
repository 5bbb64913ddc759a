"""One figure from one part of a table: --kind KIND --means CSV --out NAME.svg NAME.pdf NAME.png, and --caption FILE.

The kinds are the files of crayfish/figures/; each says which part of an experiment's table it draws, and all three are
given: --means, --series and --curves (by hand the one that the kind draws is enough). --where keeps some rows alone.
Equal tables give equal files, byte for byte.
"""

import argparse
import json
from pathlib import Path

import matplotlib

from crayfish.results import captions, plots, tables
from crayfish.spec import discovery, errors
from crayfish.spec.errors import CrayfishError

PARTS = ("means", "series", "curves")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=discovery.names("results/figures"), required=True)
    for part in PARTS:
        parser.add_argument(f"--{part}", type=Path, help=f"a table of tabulate.py --part {part}")
    parser.add_argument("--where", type=json.loads, default={}, help="JSON: column -> list of the values that are kept")
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="files, .svg .pdf .png")
    parser.add_argument("--caption", type=Path, help="where the caption goes, reStructuredText")
    arguments = parser.parse_args()
    kind = discovery.figure_kind(arguments.kind)
    if not (path := vars(arguments)[kind.part]):
        raise CrayfishError(f"--{kind.part}: {arguments.kind} draws this part of a table, and it was not given")
    table = tables.read_table(path)
    if not len(table):
        raise CrayfishError(f"{path}: the table is empty, there is nothing to draw")
    try:
        table = kind.select(tables.kept(table, arguments.where))
        with matplotlib.rc_context(plots.STYLE):
            figure = kind.draw(table)
    except CrayfishError as error:
        raise CrayfishError(f"{path}: {error}") from error
    for out in arguments.out:
        plots.save(figure, out)
    if arguments.caption:
        arguments.caption.write_text(captions.caption(kind, table))


if __name__ == "__main__":
    errors.main(main)
