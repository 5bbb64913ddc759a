"""What a run makes of the rate that a pilot or a search has found."""

import json

import pytest

from crayfish.harness import sizing
from crayfish.harness.run import check_memory
from crayfish.spec import memory
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import RunSpec, Segment


@pytest.fixture
def found(tmp_path):
    """Writes the summary of a run that has found this."""

    def write(**segment: object):
        path = tmp_path / "summary.json"
        path.write_text(json.dumps({"run": "the search", "segments": [segment]}))
        return path

    return write


def test_a_backlog_is_larger_than_what_the_pilot_drained_in_that_time(found, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 10**15)
    spec = RunSpec("flink", "onnx", (Segment("backlog", warmup_s=2, measure_s=3),))
    (load,) = sizing.sized(spec, found(throughput={"events_per_s": 1000.0})).segments
    assert load.rate == sizing.MARGIN * 1000 > 1000
    assert (load.kind, load.warmup_s, load.measure_s) == ("backlog", 2, 3)


def test_a_backlog_fits_into_the_free_memory(found, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 100_000_000)
    spec = RunSpec("flink", "onnx", (Segment("backlog", warmup_s=2, measure_s=3),))
    (load,) = sizing.sized(spec, found(throughput={"events_per_s": 1e9})).segments
    assert load.rate * 5 * spec.event_bytes == pytest.approx(sizing.MEMORY_SHARE * 100_000_000, rel=1e-3)


def test_fractions_become_rates(found):
    burst = {"burst_s": 1, "between_s": 1}
    spec = RunSpec(
        "flink", "onnx", (Segment("bursty", 0.7, peak_rate=1.1, of="sustainable", **burst), Segment("constant", 5))
    )
    first, second = sizing.sized(spec, found(sustainable_events_per_s=200.0)).segments
    assert (first.rate, first.peak_rate, first.of) == (pytest.approx(140), pytest.approx(220), "")
    assert second.rate == 5


def test_a_search_that_found_no_rate_is_an_error(found):
    spec = RunSpec("flink", "onnx", (Segment("constant", 0.7, of="sustainable"),))
    with pytest.raises(CrayfishError, match="the search found none"):
        sizing.sized(spec, found(sustainable_events_per_s=0.0))


def test_a_run_is_refused_where_its_instances_do_not_fit_into_memory(monkeypatch):
    """Flink at parallelism 32 was found to take 35 GB."""
    load = (Segment("constant", rate=1),)
    small, large = (RunSpec("flink", "noop", load, parallelism=number, partitions=32) for number in (2, 32))
    assert 33e9 < large.memory_bytes < 40e9
    monkeypatch.setattr(memory, "available", lambda: 24 * 2**30)
    check_memory(small)
    with pytest.raises(CrayfishError, match=r"at parallelism 32 needs about .* lower run\.parallelism"):
        check_memory(large)
