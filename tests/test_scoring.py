"""ScoringOperator with the noop scorer, and with one that tells events apart: both styles answer every event alike."""

from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crayfish.events import Binary, MalformedEvent
from crayfish.run_spec import Job, Load, RunSpec
from crayfish.scorers import noop
from crayfish.scoring import ScoringOperator

SHAPE, OUTPUTS = (4, 5), 3
STYLES = ("per_event", "vectorised")
CODEC = Binary(SHAPE, OUTPUTS)


class Sums(nullcontext):
    """A scorer whose answer depends on the data point, and that counts its calls."""

    calls = 0

    def score(self, batch: np.ndarray) -> np.ndarray:
        self.calls += 1
        return np.stack([batch.sum(axis=(1, 2)) + output for output in range(OUTPUTS)], axis=1)


def operator_of(scoring: str) -> ScoringOperator:
    spec = RunSpec("flink", "noop", (Load("constant", rate=1),), scoring=scoring)
    return ScoringOperator(Job(spec, "", "", "", "", SHAPE, OUTPUTS, None, None, (), None, ""))


def events_of(counts: list[int]) -> list[bytes]:
    random = np.random.default_rng(7)
    bodies = [CODEC.encode_body(random.integers(0, 255, (count, *SHAPE))) for count in counts]
    return [
        CODEC.stamp(body, count, sequence, 1000 + sequence)
        for sequence, (body, count) in enumerate(zip(bodies, counts, strict=True))
    ]


@pytest.mark.parametrize("scoring", STYLES)
@given(counts=st.lists(st.integers(1, 4), max_size=12))
def test_noop_answers_every_event_with_its_header_and_the_constant(scoring, counts):
    events = events_of(counts)
    with operator_of(scoring) as operator:
        predictions = operator.score_events(events)
    assert len(predictions) == len(events)
    for event, prediction in zip(events, predictions, strict=True):
        header, outputs = CODEC.read_prediction(prediction)
        assert header == CODEC.read_header(event)
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
        expected = CODEC.decode(event).sum(axis=(1, 2))[:, None] + np.arange(OUTPUTS)
        assert np.array_equal(CODEC.read_prediction(prediction)[1], expected)


@pytest.mark.parametrize("scoring", STYLES)
def test_one_malformed_event_is_refused(scoring):
    with operator_of(scoring) as operator, pytest.raises(MalformedEvent):
        operator.score_events([*events_of([1, 1]), b"noise"])
