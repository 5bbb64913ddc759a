"""Make the right answers of a model of the user's own: OUT/reference.npz and OUT/training.json.

Run it with the interpreter of a processor's environment.
"""

import argparse
from pathlib import Path

from crayfish.harness import own_answers
from crayfish.spec import errors
from crayfish.spec.own_models import OwnModel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--own", type=OwnModel.from_json, required=True, help="what it is, as JSON")
    parser.add_argument("--source", required=True, help="its file, as the config names it")
    parser.add_argument("--file", type=Path, required=True, help="the copy of that")
    parser.add_argument("--environment", required=True, help="the processor whose environment this runs in")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--samples", type=Path, help="npy, or npz with one array")
    parser.add_argument("--range", type=float, nargs=2, help="without samples: what inputs are drawn from")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    options = vars(parser.parse_args())
    out = options.pop("out")
    own_answers.answer(own_answers.Answering(**options), out)


if __name__ == "__main__":
    errors.main(main)
