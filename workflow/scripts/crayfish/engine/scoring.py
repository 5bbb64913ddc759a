"""ScoringOperator: bytes in, bytes out. Every processor calls this and nothing else."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from typing import TYPE_CHECKING

from crayfish.engine import batches
from crayfish.spec import discovery
from crayfish.spec.values import ITEM_BYTES

if TYPE_CHECKING:
    import numpy as np

    from crayfish.spec.contracts import LoadedRemoteScorer, LoadedScorer
    from crayfish.spec.run_spec import Job


def event_bytes(job: Job) -> int:
    """About the size of the job's largest event; as JSON it is up to four times as long."""
    return ITEM_BYTES[job.spec.dtype] * math.prod(job.input_shape) * max(load.batch_size for load in job.spec.segments)


def events_at_once(job: Job, most_events: int, most_bytes: int) -> int:
    """How many events an engine may hand over together: at most most_events, fewer if they are large, at least one.

    It is never less than run.async_calls, so that as many requests can be in flight.
    """
    return max(1, job.spec.async_calls, min(most_events, most_bytes // event_bytes(job)))


class Slowed:
    """A scorer that takes so many microseconds of its thread's CPU time more a data point."""

    def __init__(self, scorer: LoadedScorer, added_us: float):
        self._scorer, self._added_s = scorer, added_us / 1e6

    def __enter__(self) -> Slowed:
        self._scorer.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._scorer.__exit__(*error)

    def score(self, batch: np.ndarray) -> np.ndarray:
        outputs = self._scorer.score(batch)
        until = time.thread_time() + self._added_s * len(batch)
        while time.thread_time() < until:
            pass
        return outputs


class ScoringOperator:
    """Decodes events, scores them with the job's scorer and encodes the predictions: score_events(events, waited_us).

    waited_us: how long the first of the events has waited for its model call, if the engine knows that. Vectorised, it
    and the number of events of each call are counted for the manifest (crayfish.engine.batches).

    A context manager: the scorer is loaded on entry and released on exit. One operator belongs to one thread. Raises
    MalformedEvent for what is no event of the run; what its scorer raises passes (spec.contracts.LoadedScorer).
    """

    def __init__(self, job: Job):
        from numpy import ascontiguousarray

        from crayfish.spec.events import codec_of

        self._contiguous, self._job, self._vectorised = ascontiguousarray, job, job.spec.scoring == "vectorised"
        self.codec = codec_of(job)
        # score_async() is called for external scorers alone: RunSpec refuses async_calls with any other.
        self.scorer: LoadedRemoteScorer = discovery.scorer(job.spec.scorer).open(job)  # type: ignore[assignment]
        if job.spec.added_us:
            self.scorer = Slowed(self.scorer, job.spec.added_us)  # type: ignore[assignment]
        self._calls, self._runner = job.spec.async_calls, asyncio.Runner()
        per_event = self._score_at_once if self._calls else self._score_each
        self.score_events = self._score_together if self._vectorised else per_event

    def __enter__(self) -> ScoringOperator:
        self.scorer.__enter__()
        if self._vectorised:
            self._count = batches.counter(self._job)
        # The same in the Python of every engine. What is loaded stays: no collection need walk it (PySpark asks for one
        # after each task). And none runs by itself: scoring leaves no cycles, and with JPype each collection of Java's
        # would start one of Python's, which may ask Java for a full one, of 30 ms, in return.
        gc.collect()  # else what loading left behind would stay too
        gc.freeze()
        gc.disable()
        return self

    def __exit__(self, *error: object) -> None:
        gc.enable()
        self._runner.close()  # and cancel what an error has left waiting
        self.scorer.__exit__(*error)

    def score_event(self, event: bytes) -> bytes:
        """One event to its prediction, by one call of the scorer."""
        return self.codec.encode_prediction(event, self.scorer.score(self.codec.decode(event)))

    async def score_event_async(self, event: bytes) -> bytes:
        """The same, while other requests are in flight; for scorers that call a server."""
        return self.codec.encode_prediction(event, await self.scorer.score_async(self.codec.decode(event)))

    def _score_each(self, events: list[bytes], waited_us: int | None = None) -> list[bytes]:
        return [self.score_event(event) for event in events]

    def _score_at_once(self, events: list[bytes], waited_us: int | None = None) -> list[bytes]:
        """One call an event; at most run.async_calls requests are in flight."""
        predictions, ahead = [b""] * len(events), iter(enumerate(events))

        async def work() -> None:
            for index, event in ahead:
                predictions[index] = await self.score_event_async(event)

        async def work_at_once() -> None:
            await asyncio.gather(*(work() for _ in range(min(self._calls, len(events)))))

        self._runner.run(work_at_once())
        return predictions

    def _score_together(self, events: list[bytes], waited_us: int | None = None) -> list[bytes]:
        """One call of the scorer for all the data points at hand, whatever number each event has."""
        if not events:
            return []
        self._count(len(events), waited_us)
        batch, counts = self.codec.decode_many(events)
        outputs = self._contiguous(self.scorer.score(batch))
        encode, predictions, start = self.codec.encode_prediction, [], 0
        for event, count in zip(events, counts, strict=True):
            predictions.append(encode(event, outputs[start : start + count]))
            start += count
        return predictions
