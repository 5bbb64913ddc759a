"""Which runs need another repetition: the names of those whose headline interval is too wide, as a JSON list."""

import argparse
import json
from pathlib import Path

from crayfish.results import rounds
from crayfish.spec import errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", type=float, required=True, help="half of an interval, as a share of its mean")
    parser.add_argument("--summaries", type=Path, nargs="*", default=[], help="summary.json of every repetition")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    summaries = [json.loads(path.read_text()) for path in arguments.summaries]
    arguments.out.write_text(json.dumps(rounds.too_wide(summaries, arguments.precision), indent=1) + "\n")


if __name__ == "__main__":
    errors.main(main)
