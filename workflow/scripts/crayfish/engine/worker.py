"""A processor or a server as a process: `python -m crayfish.engine.worker {processors,servers} --job FILE`.

SIGTERM ends it.
"""

import argparse
import dataclasses
import os
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
    parser.add_argument("--member", type=int, default=0, help="which of the processor's nodes this is, from 0")
    parser.add_argument("--withdraw", action="store_true", help="end what a killed one has left where it was given")
    arguments = parser.parse_args()
    job = Job.read(arguments.job)
    if arguments.withdraw:
        withdraw = discovery.processor(job.spec.processor).withdraw
        assert withdraw is not None  # the harness asks for what is declared
        withdraw(job)
        return
    if folder := os.environ.get(child.SCRATCH):
        job = dataclasses.replace(job, workdir=folder, shared=job.workdir, member=arguments.member)
    report = child.reporter()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    spec = job.spec
    if arguments.kind == "servers":
        work = discovery.server(spec.scorer).run
    else:
        processor = discovery.processor(spec.processor)
        work = processor.join if job.member and processor.join else processor.run
    work(job, stop, lambda **about: report(event="ready", **about))


if __name__ == "__main__":
    errors.main(main)
