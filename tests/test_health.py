"""What the harness says of a run's measurement, from its samples, its events and its predictions."""

import numpy as np
import pytest

from crayfish.harness import health
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import RunSpec

LOAD = {"kind": "constant", "rate": 100.0, "warmup_s": 0.0, "measure_s": 1.0}
SEGMENT = {"load_start_ns": 0, "end_ns": 10**9}
RIGHT = {"wrong": 0, "malformed": 0}


def lateness_warnings(late_ms, segment=SEGMENT) -> list[str]:
    """Of 100 events that were in the input topic so late, over one second; -1: that was not read."""
    due, late_ms = np.arange(100, dtype=np.int64) * 10_000_000, np.asarray(late_ms)
    appended = np.where(late_ms < 0, -1, due // 1_000_000 + late_ms.astype(np.int64))
    return health.lateness_warnings(np.zeros(100, np.int16), due, appended, 10.0, {0: segment})


def test_a_late_generator_is_warned_of():
    late_ms = np.where(np.arange(100) < 5, 20.0, 1.0)
    assert lateness_warnings(late_ms) == [
        "segment 1: 5.0% of the events were in the input topic more than 10 ms after they were due (at most 20 ms)"
    ]
    assert lateness_warnings(np.full(100, 1.0)) == []
    assert lateness_warnings(np.full(100, -1.0)) == []


def test_events_of_the_warm_up_do_not_make_a_generator_late():
    late_ms = np.where(np.arange(100) < 5, 20.0, 1.0)
    assert lateness_warnings(late_ms, {**SEGMENT, "load_start_ns": 50_000_000}) == []


def test_events_after_the_window_do_not_make_a_generator_late():
    late_ms = np.where(np.arange(100) >= 95, 20.0, 1.0)
    assert lateness_warnings(late_ms, {**SEGMENT, "end_ns": 950_000_000}) == []


def test_cores_that_others_used_or_the_hypervisor_withheld_are_warned_of():
    def samples(busy: float, stolen: float) -> dict:
        machine = {"time_ns": [0, 10**9], "cpu_s": [0.0, busy], "stolen_s": [3.0, 3.0 + stolen]}
        return {"stages": {"processor": {"cpu_s": [0.0, 0.5]}}, "machine": machine}

    assert health.lost_cores_warnings(samples(1.5, 0.4), {0: SEGMENT}) == [
        "segment 1: other processes used 1.00 cores while it was measured",
        "segment 1: the hypervisor withheld 0.40 cores while it was measured",
    ]
    assert health.lost_cores_warnings(samples(0.6, 0.1), {0: SEGMENT}) == []


def spec_of(**fields: object) -> RunSpec:
    return RunSpec.from_dict({"processor": "flink", "scorer": "noop", "segments": [LOAD], **fields})


def test_partitions_that_instances_share_unevenly_are_warned_of():
    assert health.sharing_warnings(spec_of(parallelism=3)) == ["8 partitions are shared unevenly by 3 instances"]
    assert health.sharing_warnings(spec_of(parallelism=4)) == []
    tasks = {"parallelism_model": "task", "execution": "process"}
    assert health.sharing_warnings(spec_of(parallelism=3, **tasks)) == []  # scoring has no partitions


def test_every_event_that_was_answered_counts_once():
    counts = health.account(spec_of(), 100, {"received": 103, "distinct": 100, **RIGHT})
    assert counts == {"sent": 100, "received_once": 100, "lost": 0, "left": 0, "duplicated": 3, "wrong": 0}


@pytest.mark.parametrize(
    ("fields", "predictions", "told"),
    [
        ({}, {"received": 98, "distinct": 98}, "2 of 100 events were never answered, which violates at_least_once"),
        ({"delivery": "exactly_once"}, {"received": 101, "distinct": 100}, "1 predictions came twice"),
        ({}, {"received": 100, "distinct": 100, "wrong": 4}, "4 predictions are wrong and 0 are malformed"),
        ({}, {"received": 100, "distinct": 100, "malformed": 1}, "0 predictions are wrong and 1 are malformed"),
    ],
)
def test_what_the_guarantee_excludes_is_an_error(fields, predictions, told):
    with pytest.raises(CrayfishError, match=f"{told}.*: noop in flink"):
        health.account(spec_of(**fields), 100, RIGHT | predictions)


def test_what_is_left_of_a_backlog_when_its_time_is_over_is_not_lost():
    backlog = {"kind": "backlog", "rate": 100.0, "warmup_s": 0.0, "measure_s": 1.0, "at_most_s": 5.0}
    counts = health.account(spec_of(segments=[backlog]), 100, {"received": 40, "distinct": 40, **RIGHT})
    assert (counts["sent"], counts["left"], counts["lost"]) == (40, 60, 0)
