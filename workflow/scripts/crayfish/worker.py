"""A processor or a scorer's server as a process: `python -m crayfish.worker ROOM --job FILE`. SIGTERM ends it."""

import argparse
import signal
import threading
from pathlib import Path

from crayfish import discovery, errors, stages
from crayfish.run_spec import Job

ROOMS = {"processors": "processor", "servers": "scorer"}  # room -> the field of the RunSpec that names the module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("room", choices=ROOMS)
    parser.add_argument("--job", type=Path, required=True)
    arguments = parser.parse_args()
    job = Job.read(arguments.job)
    report = stages.reporter()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    module = discovery.load(arguments.room, getattr(job.spec, ROOMS[arguments.room]))
    module.run(job, stop, ready=lambda **about: report(event="ready", **about))


if __name__ == "__main__":
    errors.main(main)
