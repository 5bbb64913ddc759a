"""A bare client of an external scorer's server: the project's own scorer, one data point a call, no stream processor.

What a processor with async_calls is compared with. `python client.py --job FILE --seconds S`, with the interpreter of
the processor's environment; keeps async_calls requests in flight and reports, after a warm-up, how many were answered,
and from when to when.
"""

import argparse
import asyncio
import time
from pathlib import Path
from typing import cast

import numpy as np

from crayfish.engine import child
from crayfish.spec import discovery, errors
from crayfish.spec.contracts import LoadedRemoteScorer
from crayfish.spec.run_spec import Job

WARMUP_S = 3.0


async def answered(score_async, batch: np.ndarray, in_flight: int, seconds: float) -> int:
    """How many requests were answered while so many were in flight."""
    count, end = 0, time.monotonic() + seconds

    async def work() -> None:
        nonlocal count
        while time.monotonic() < end:
            await score_async(batch)
            count += 1

    await asyncio.gather(*(work() for _ in range(in_flight)))
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    report = child.reporter()
    job = Job.read(arguments.job)
    batch = np.random.default_rng(job.spec.seed).random((1, *job.input_shape), np.float32)
    with discovery.scorer(job.spec.scorer).open(job) as scorer, asyncio.Runner() as runner:
        call = cast(LoadedRemoteScorer, scorer).score_async
        runner.run(answered(call, batch, job.spec.async_calls, WARMUP_S))
        began = time.time_ns()
        calls = runner.run(answered(call, batch, job.spec.async_calls, arguments.seconds))
        report(event="done", calls=calls, start_ns=began, end_ns=time.time_ns())


if __name__ == "__main__":
    errors.main(main)
