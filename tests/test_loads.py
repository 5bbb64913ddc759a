"""When the loads' waits end: with all predictions, after a stall, when the time is over, or by an error."""

from types import SimpleNamespace

import pytest

from crayfish.harness import paced
from crayfish.harness.loads import backlog
from crayfish.harness.stages import StageFailed
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import RunSpec, Segment

PARTITIONS = 4


def run_of(load: Segment, answered=(), drain_timeout_s: float = 60.0) -> SimpleNamespace:
    """What a load sees of a run; answered: how many messages each look at the output topic finds, the last for ever."""
    answers, last = iter(answered), [0]

    def output_ends() -> list[int]:
        last[0] = next(answers, last[0])
        return [last[0], *[0] * (PARTITIONS - 1)]

    fields = {"partitions": PARTITIONS, "drain_timeout_s": drain_timeout_s}
    spec = RunSpec("flink", "noop", (load,), **fields)
    return SimpleNamespace(
        spec=spec, segments=[], output_ends=output_ends, watch=lambda: None, progress=lambda text: None, looked=last
    )


def client(*turns: list[dict]) -> SimpleNamespace:
    """A producer or consumer whose messages come in turns."""
    left = iter(turns)
    return SimpleNamespace(new_messages=lambda: next(left, []), failure=StageFailed)


@pytest.fixture(autouse=True)
def short_pause(monkeypatch):
    monkeypatch.setattr(backlog, "PAUSE_S", 0.001)


def test_a_backlog_is_drained_when_all_events_and_probes_were_answered():
    run = run_of(Segment("backlog", rate=100), [0, 50, 103, 104, 999])
    backlog.drain(run, 100)
    assert run.looked == [104]


def test_a_backlog_that_stalls_is_given_up_after_the_deadline():
    run = run_of(Segment("backlog", rate=100), [0, 50], drain_timeout_s=0.05)
    backlog.drain(run, 100)
    assert run.looked == [50]


def test_a_backlog_whose_time_is_over_is_not_waited_for():
    run = run_of(Segment("backlog", rate=100, at_most_s=0.05), range(10**9))
    backlog.drain(run, 10**9)
    assert run.looked[0] < 10**9


def test_a_backlog_of_large_events_has_the_time_that_writing_them_takes():
    def longest_s(**fields) -> float:
        return backlog.longest_preload_s(RunSpec("flink", "noop", (Segment("backlog", rate=100, **fields),)), 10_000)

    assert longest_s() == pytest.approx(10_000 / 2000)
    spec = RunSpec("flink", "noop", (Segment("backlog", rate=100, batch_size=512),))
    assert longest_s(batch_size=512) == pytest.approx(10_000 * spec.event_bytes / 20e6)


def test_a_segment_ends_with_its_last_prediction():
    producer = client([{"event": "progress", "sent": 5}], [{"event": "segment_done", "sent": 10}])
    consumer = client([{"distinct": 5}], [{"distinct": 9}], [{"distinct": 10}])
    assert paced.await_predictions(run_of(Segment("constant", rate=10)), 1.0, producer, consumer, "segment")[0] == 10


def test_predictions_that_do_not_come_are_given_up_after_the_deadline():
    run = run_of(Segment("constant", rate=10), drain_timeout_s=0.05)
    producer = client([{"event": "segment_done", "sent": 10}])
    assert paced.await_predictions(run, 60.0, producer, client([{"distinct": 9}]), "segment")[0] == 10


def test_a_producer_that_does_not_finish_its_segment_is_an_error(monkeypatch):
    monkeypatch.setattr(paced, "START_DEADLINE_S", 0.05)
    with pytest.raises(StageFailed, match="did not finish its segment"):
        paced.await_predictions(run_of(Segment("constant", rate=10)), 0.0, client(), client(), "segment")


def test_a_wrong_prediction_ends_a_segment_at_once():
    with pytest.raises(CrayfishError, match="3 predictions are wrong: noop in flink"):
        paced.await_predictions(run_of(Segment("constant", rate=10)), 60.0, client(), client([{"wrong": 3}]), "segment")
