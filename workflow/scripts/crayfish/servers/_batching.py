"""What the servers share that put several requests into one model call (run.server_batch_max is more than 1).

A batch is at most so many requests, or those that have come within run.server_batch_delay_ms after its first one,
whichever comes first. At its end a server tells what its batches were (tell): it counts all its model calls, those of
the probes and of warm-ups too.
"""

from __future__ import annotations

import json
import math
import os
import queue
import re
import threading
import time
from array import array
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from crayfish.spec.run_spec import MAX_MESSAGE_BYTES
from crayfish.spec.values import ITEM_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np

    from crayfish.spec.run_spec import Job

    Score = Callable[[np.ndarray], np.ndarray]  # float32[n, ...] -> float32[n, outputs]

PERCENTILES = ("p50", "p99")
SAMPLE = re.compile(r"^([\w:]+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')
# What each process that makes model calls appends for each of them to files of its own in the scratch folder: the
# number of its requests, and how long each has waited, ms. What is killed has told.
SIZES, WAITS = ("sizes", "I"), ("waits", "d")


def score_together(score: Score, batches: list[np.ndarray]) -> list[np.ndarray]:
    """The float32[n, outputs] of each request's float32[n, ...], each with its own n, by one call of score."""
    from numpy import concatenate

    outputs, answers, start = score(concatenate(batches)), [], 0
    for batch in batches:
        answers.append(outputs[start : start + len(batch)])
        start += len(batch)
    return answers


class Request(NamedTuple):
    """A request that waits for its batch."""

    points: np.ndarray
    answer: Future
    came: float  # time.monotonic()


class Batches:
    """Makes model calls of requests: a context manager with so many threads, each in one call at a time.

    Requests go into one batch after the other, in the order in which they came.
    """

    def __init__(self, score: Score, most: int, delay_ms: float, workers: int):
        self._score, self._most, self._delay_s = score, most, delay_ms / 1000
        self._waiting: queue.SimpleQueue[Request | None] = queue.SimpleQueue()  # None: the end
        self._filling = threading.Lock()  # one batch at a time
        self._workers = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        self.sizes: array[int] = array("I")
        self.waits_ms: array[float] = array("d")

    def __enter__(self) -> Batches:
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.put(None)
        for worker in self._workers:
            worker.join()

    def score(self, batch: np.ndarray) -> np.ndarray:
        """float32[n, ...] -> float32[n, outputs], together with what others ask; for any number of threads.

        Raises what the model call raised, as all do whose requests were in it.
        """
        request = Request(batch, Future(), time.monotonic())
        self._waiting.put(request)
        return request.answer.result()

    def _next(self) -> list[Request]:
        """The next batch; empty: there is none any more."""
        with self._filling:
            if (first := self._waiting.get()) is None:
                self._waiting.put(None)  # for the other workers
                return []
            batch, end = [first], first.came + self._delay_s
            while len(batch) < self._most:
                try:
                    request = self._waiting.get(timeout=max(0.0, end - time.monotonic()))
                except queue.Empty:
                    break
                if request is None:
                    self._waiting.put(None)
                    break
                batch.append(request)
            now = time.monotonic()
            self.sizes.append(len(batch))
            self.waits_ms.extend(1000 * (now - request.came) for request in batch)
            return batch

    def _work(self) -> None:
        while batch := self._next():
            try:
                answers = score_together(self._score, [request.points for request in batch])
            except Exception as error:  # whatever it is, it is each caller's
                for request in batch:
                    request.answer.set_exception(error)
            else:
                for request, answer in zip(batch, answers, strict=True):
                    request.answer.set_result(answer)


class Record:
    """Where one process notes its model calls."""

    def __init__(self, folder: str):
        names, how = (SIZES[0], WAITS[0]), os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._sizes, self._waits = (os.open(Path(folder, f"{name}-{os.getpid()}"), how) for name in names)

    def note(self, waits_ms: Sequence[float]) -> None:
        """A model call, with how long each of its requests has waited, ms."""
        os.write(self._sizes, array(SIZES[1], [len(waits_ms)]))
        os.write(self._waits, array(WAITS[1], waits_ms))


def recorded(folder: str) -> tuple[array, array]:
    """The sizes and waits, ms, that all processes have noted there."""
    found = []
    for name, kind in (SIZES, WAITS):
        values = array(kind)
        for file in Path(folder).glob(f"{name}-*"):
            values.frombytes(file.read_bytes())
        found.append(values)
    return found[0], found[1]


def statistics(name: str, values: Sequence[float]) -> dict[str, float | None]:
    """Mean, p50 and p99 of some values, as NAME_mean and so on; None where there are too few for it
    (spec.metrics.percentile)."""
    import numpy as np

    from crayfish.spec import metrics

    ordered = np.sort(np.asarray(values, dtype=float))
    told = {part: metrics.percentile(ordered, metrics.PER_MILLE[part]) for part in PERCENTILES}
    mean = float(ordered.mean()) if len(ordered) else None
    return {f"{name}_mean": mean, **{f"{name}_{part}": value for part, value in told.items()}}


def tell(job: Job, found: dict[str, float | None]) -> None:
    """Leave what the server's batches were where the harness finds it: `size_` (requests a model call) and `queue_ms_`
    (how long a request waited for its call to begin), each `mean`, `p50`, `p99`. What is not given cannot be told."""
    names = [f"{what}_{part}" for what in ("size", "queue_ms") for part in ("mean", *PERCENTILES)]
    part = job.batches.with_suffix(".part")
    part.write_text(json.dumps({name: found.get(name) for name in names}))
    part.rename(job.batches)


def tell_counts(job: Job, sizes: Sequence[float], waits_ms: Sequence[float]) -> None:
    """tell() of every model call and every request."""
    tell(job, statistics("size", sizes) | statistics("queue_ms", waits_ms))


@contextmanager
def open_batches(job: Job, score: Score) -> Iterator[tuple[Score, int]]:
    """What a server in this process answers each request with, and in how many threads at most: `score` itself, in as
    many as the run's parallelism; or Batches of it, and then a request waits in its thread. Tells of them at the end.
    """
    spec = job.spec
    if spec.server_batch_max == 1:
        yield score, spec.parallelism
        return
    with Batches(score, spec.server_batch_max, spec.server_batch_delay_ms, spec.parallelism) as batches:
        yield batches.score, spec.parallelism * max(1, spec.async_calls)
    tell_counts(job, batches.sizes, batches.waits_ms)


def most_points(job: Job) -> int:
    """server_batch_max in data points, for what counts those: of so many requests, each of the largest.

    A request is an event, or of vectorised scoring as many as a message holds, or engine_batch_max if that is set; then
    requests smaller than that go together up to the parallelism.
    """
    spec = job.spec
    event = max(segment.batch_size for segment in spec.segments)
    largest = event * (spec.engine_batch_max or 1)
    if spec.scoring == "vectorised" and not spec.engine_batch_max:
        point = ITEM_BYTES[spec.dtype] * math.prod(job.input_shape)
        largest = max(event, MAX_MESSAGE_BYTES // point)
    return spec.server_batch_max * largest


def points_of_each(job: Job) -> int | None:
    """The data points of each request, if all have equally many."""
    sizes = {segment.batch_size for segment in job.spec.segments}
    several = any(segment.declared.sizes(segment) is not None for segment in job.spec.segments)
    return None if several or len(sizes) > 1 or job.spec.scoring == "vectorised" else sizes.pop()


def supported(count: float, percentile: str) -> bool:
    """Whether so many values have this percentile."""
    from crayfish.spec import metrics

    return metrics.has_percentile(count, metrics.PER_MILLE[percentile])


def samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    """Labels and value of each sample of this name in Prometheus's text format."""
    return [(dict(LABEL.findall(labels)), float(value)) for each, labels, value in SAMPLE.findall(text) if each == name]
