"""ScoringOperator with the noop scorer, and with one that tells events apart: both styles answer every event alike."""

import asyncio
import gc
import tempfile
import time
from contextlib import nullcontext

import numpy as np
import pytest
from generated_events import header_of, prediction_of
from hypothesis import given
from hypothesis import strategies as st

from crayfish.engine.scoring import ScoringOperator, Slowed, event_bytes, events_at_once
from crayfish.scorers import noop
from crayfish.spec.events import CODECS, MalformedEvent
from crayfish.spec.run_spec import Job, RunSpec, Segment

SHAPE, OUTPUTS = (4, 5), 3
FOLDER = tempfile.TemporaryDirectory()  # where operators count their batches
STYLES = ("per_event", "vectorised")


class Sums(nullcontext):
    """A scorer whose answer depends on the data point, and that counts its calls."""

    calls = 0

    def score(self, batch: np.ndarray) -> np.ndarray:
        self.calls += 1
        return np.stack([batch.sum(axis=(1, 2)) + output for output in range(OUTPUTS)], axis=1)


class Waits(Sums):
    """Answers after some turns of the event loop, the fewer the later it is called; counts the calls that wait."""

    waiting = most = 0

    async def score_async(self, batch: np.ndarray) -> np.ndarray:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        for _ in range(20 - self.calls % 20):
            await asyncio.sleep(0)
        self.waiting -= 1
        return self.score(batch)


def operator_of(scoring: str, codec: str = "binary", scorer: str = "noop", async_calls: int = 0) -> ScoringOperator:
    loads = (Segment("constant", rate=1),)
    spec = RunSpec("kafka_streams", scorer, loads, scoring=scoring, codec=codec, async_calls=async_calls)
    return ScoringOperator(Job(spec, "", "", "", "", SHAPE, OUTPUTS, None, None, (), (), None, FOLDER.name))


def events_of(counts: list[int], codec: str = "binary") -> list[bytes]:
    random = np.random.default_rng(7)
    codec = CODECS[codec](SHAPE, OUTPUTS)
    bodies = [codec.encode_body(random.integers(0, 255, (count, *SHAPE))) for count in counts]
    return [
        codec.stamp(body, count, sequence, 1000 + sequence)
        for sequence, (body, count) in enumerate(zip(bodies, counts, strict=True))
    ]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("scoring", STYLES)
@given(counts=st.lists(st.integers(1, 4), max_size=12))
def test_noop_answers_every_event_with_its_header_and_the_constant(scoring, codec, counts):
    events = events_of(counts, codec)
    with operator_of(scoring, codec) as operator:
        predictions = operator.score_events(events)
    assert len(predictions) == len(events)
    for event, prediction in zip(events, predictions, strict=True):
        header, outputs = prediction_of(operator.codec, prediction)
        assert header == header_of(operator.codec, event)
        assert (outputs == noop.ANSWER).all()


@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=12))
def test_both_styles_answer_alike_and_differ_in_calls(counts):
    events, answers = events_of(counts), {}
    for scoring in STYLES:
        operator = operator_of(scoring)
        operator.scorer = Sums()
        with operator:
            answers[scoring] = operator.score_events(events)
        assert operator.scorer.calls == (len(events) if scoring == "per_event" else 1)
    assert answers["per_event"] == answers["vectorised"]
    for event, prediction in zip(events, answers["per_event"], strict=True):
        expected = operator.codec.decode(event).sum(axis=(1, 2))[:, None] + np.arange(OUTPUTS)
        assert np.array_equal(prediction_of(operator.codec, prediction)[1], expected)


@pytest.mark.parametrize("scoring", STYLES)
def test_one_malformed_event_is_refused(scoring):
    with operator_of(scoring) as operator, pytest.raises(MalformedEvent):
        operator.score_events([*events_of([1, 1]), b"noise"])


@given(counts=st.lists(st.integers(1, 4), max_size=40), calls=st.integers(1, 16))
def test_calls_wait_at_once_up_to_their_bound_and_answer_in_order(counts, calls):
    events = events_of(counts)
    one, many = operator_of("per_event"), operator_of("per_event", scorer="triton", async_calls=calls)
    one.scorer, many.scorer = Sums(), Waits()
    with one, many:
        assert many.score_events(events) == one.score_events(events)
    assert many.scorer.calls == len(events) and many.scorer.most == min(calls, len(events))


def test_a_call_that_fails_among_several_is_raised_and_leaves_none_behind():
    events = [*events_of([1] * 8), b"noise", *events_of([1] * 8)]
    operator = operator_of("per_event", scorer="triton", async_calls=4)
    operator.scorer = Waits()
    with operator:
        with pytest.raises(MalformedEvent):
            operator.score_events(events)
        loop = operator._runner.get_loop()
        assert asyncio.all_tasks(loop)
    assert loop.is_closed() and not asyncio.all_tasks(loop)


def test_a_planted_slow_down_costs_its_cpu_time_and_changes_no_answer():
    spec = RunSpec("kafka_streams", "noop", (Segment("constant", rate=1),), added_us=2000)
    slow = Slowed(Sums(), spec.added_us)
    batch = np.ones((3, *SHAPE), np.float32)
    began = time.thread_time()
    with slow:
        assert (slow.score(batch) == Sums().score(batch)).all()
    assert time.thread_time() - began >= 3 * 2000e-6


def test_what_is_loaded_is_walked_by_no_collection():
    loaded = [[] for _ in range(1000)]
    with operator_of("per_event"):
        walked = {id(each) for each in gc.get_objects()}
        gc.unfreeze()
        assert not any(id(each) in walked for each in loaded)


@pytest.mark.parametrize(("scoring", "calls"), [("per_event", 0), ("vectorised", 0), ("per_event", 4)])
def test_scoring_leaves_no_cycles_so_that_no_collection_has_to_run(scoring, calls):
    events = events_of([1] * 50)
    operator = operator_of(scoring, scorer="triton" if calls else "noop", async_calls=calls)
    operator.scorer = Waits()
    with operator:
        assert not gc.isenabled()
        operator.score_events(events)
        gc.collect()
        for _ in range(20):
            operator.score_events(events)
        assert gc.collect() < 20
    assert gc.isenabled()


@given(
    sizes=st.lists(st.integers(1, 1000), min_size=1, max_size=3),
    calls=st.integers(0, 100),
    most=st.integers(1, 2000),
    most_bytes=st.integers(1, 10**7),
)
def test_an_engine_hands_over_no_more_than_fits_but_all_that_may_be_in_flight(sizes, calls, most, most_bytes):
    loads = tuple(Segment("constant", rate=1, batch_size=size) for size in sizes)
    spec = RunSpec("kafka_streams", "triton", loads, async_calls=calls)
    job = Job(spec, "", "", "", "", SHAPE, OUTPUTS, None, None, (), (), None, "")
    count = events_at_once(job, most, most_bytes)
    assert count >= max(1, calls)
    assert count == max(1, calls) or (count <= most and count * event_bytes(job) <= most_bytes)
    assert count >= most or (count + 1) * event_bytes(job) > most_bytes
