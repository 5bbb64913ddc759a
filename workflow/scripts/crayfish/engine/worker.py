"""A processor or a server as a process: `python -m crayfish.engine.worker {processors,servers} --job FILE`.

SIGTERM ends it.
"""

import argparse
import signal
import threading
from pathlib import Path

from crayfish.engine import child
from crayfish.spec import discovery, errors
from crayfish.spec.run_spec import Job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("processors", "servers"))
    parser.add_argument("--job", type=Path, required=True)
    arguments = parser.parse_args()
    job = Job.read(arguments.job)
    report = child.reporter()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    spec = job.spec
    part = discovery.processor(spec.processor) if arguments.kind == "processors" else discovery.server(spec.scorer)
    part.run(job, stop, lambda **about: report(event="ready", **about))


if __name__ == "__main__":
    errors.main(main)
