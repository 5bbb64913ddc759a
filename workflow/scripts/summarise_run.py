"""One run's per-event tables to its metrics: RUN/{manifest.json, processor.json, *.parquet} -> summary.json."""

import argparse
import json
from pathlib import Path

from crayfish.results import summaries
from crayfish.spec import errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="the run's folder")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.write_text(json.dumps(summaries.summarise(arguments.run), indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    errors.main(main)
