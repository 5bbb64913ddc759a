"""One processor as a process: `python -m crayfish.processors --job FILE`. SIGTERM stops it cleanly."""

import argparse
import signal
import threading
from importlib import import_module
from pathlib import Path

from crayfish import errors, stages
from crayfish.run_spec import Job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    job = Job.read(parser.parse_args().job)
    report = stages.reporter()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    adapter = import_module(f"crayfish.processors.{job.spec.processor}")
    adapter.run(job, stop, ready=lambda: report(event="ready"))


if __name__ == "__main__":
    errors.main(main)
