"""One figure from one part of an experiment's table: --kind KIND --means CSV --out NAME.svg --caption NAME.rst.

The kinds are the modules of crayfish/results/figures/. Each draws one part of the table: --means, --series or --curves;
the others may be given too. Without --repetitions nothing is ranked.
"""

import argparse
import json
from pathlib import Path

from crayfish.results import drawing
from crayfish.spec import discovery, errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=discovery.names("results/figures"), required=True)
    for part in drawing.PARTS:
        parser.add_argument(f"--{part}", type=Path, help=f"a table of tabulate.py --part {part}")
    parser.add_argument("--where", type=json.loads, default={}, help="JSON: column -> list of the values that are kept")
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="files, .svg .pdf .png")
    parser.add_argument("--caption", type=Path, help="where the caption goes, reStructuredText")
    parser.add_argument("--ranking", type=Path, help="where the ranking of the figure's systems goes, CSV")
    arguments = parser.parse_args()
    paths = {part: vars(arguments)[part] for part in drawing.PARTS}
    drawing.draw(arguments.kind, paths, arguments.where, arguments.out, arguments.caption, arguments.ranking)


if __name__ == "__main__":
    errors.main(main)
