"""The search for a sustainable rate: where it ends, whatever the system's capacity, and how a probe is judged."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crayfish.harness import search


def probe(rate: float, confirming: bool, sustained: bool, late: float = 0.0) -> search.Probe:
    return search.Probe(rate, confirming, sustained, "" if sustained else "too slow", 1.0, 0.0, late)


def searched(holds, first: float, most: int = 400) -> list[search.Probe]:
    """The probes of a whole search; holds(rate, number of the probe) says what comes out of each."""
    probes: list[search.Probe] = []
    while step := search.next_rate(probes, first):
        probes.append(probe(*step, holds(step[0], len(probes))))
        assert len(probes) < most
    return probes


@given(capacity=st.floats(0.05, 1e6), first=st.floats(0.1, 1e5))
def test_it_ends_just_below_the_capacity(capacity, first):
    probes = searched(lambda rate, _: rate <= capacity, first)
    found = search.result(probes)["sustainable_events_per_s"]
    assert capacity / search.RESOLUTION <= found <= capacity
    assert probes[-1].confirming and [each.confirming for each in probes].count(True) == 1


@given(capacity=st.floats(10, 1e5), first=st.floats(10, 1e4), unlucky=st.integers(0, 20))
def test_a_single_failure_moves_the_result_by_the_last_step_at_most(capacity, first, unlucky):
    probes = searched(lambda rate, number: rate <= capacity and number != unlucky, first)
    found = search.result(probes)["sustainable_events_per_s"]
    confirmed_once = [each.confirming for each in probes].count(True) == 1
    assert capacity / search.RESOLUTION ** (1 if confirmed_once else 2) <= found <= capacity


@given(capacity=st.floats(10, 1e5), confirmed=st.floats(0.1, 0.99))
def test_what_a_longer_probe_does_not_confirm_is_lowered_until_one_does(capacity, confirmed):
    probes: list[search.Probe] = []
    while step := search.next_rate(probes, 100.0):
        rate, confirming = step
        probes.append(probe(rate, confirming, rate <= capacity * (confirmed if confirming else 1.0)))
    found = search.result(probes)["sustainable_events_per_s"]
    assert 0 < found <= capacity * confirmed
    assert probes[-1].confirming and probes[-1].rate == found


def test_a_system_that_sustains_nothing_has_the_rate_0_and_a_warning():
    probes = searched(lambda rate, number: False, 100.0)
    assert search.result(probes)["sustainable_events_per_s"] == 0
    (warning,) = search.warnings_of(probes)
    assert "no rate was sustained" in warning and "too slow" in warning


def test_a_late_generator_is_told():
    probes = [probe(1.0, False, True, late=0.5), probe(2.0, False, False, late=0.2), probe(1.0, True, True)]
    (warning,) = search.warnings_of(probes)
    assert "late for up to 20%" in warning


def judged(
    rate: float, latency_ms: np.ndarray | float, objective_ms: float = 100.0, seconds: float = 10.0
) -> search.Probe:
    """A probe of so many seconds, the first two of them warm-up, whose predictions come after a latency, ms."""
    due = (np.arange(int(rate * seconds)) / rate * 1e9).astype(np.int64) + 10**18
    done = due + (np.broadcast_to(latency_ms, due.shape) * 1e6).astype(np.int64)
    appended = done // 1_000_000
    start = 10**18 + 2 * 10**9
    return search.judge(rate, False, objective_ms, due, due, done, due // 1_000_000, appended, start, 10.0)


def test_a_steady_system_sustains_its_rate():
    found = judged(500.0, np.random.default_rng(1).uniform(1, 50, 5000))
    assert found.sustained and 45 < found.p99_ms < 50 and found.late_share == 0


def test_a_latency_above_the_objective_is_not_sustained():
    assert judged(500.0, 150.0).reason == "p99 is above 100 ms"


def test_a_growing_backlog_is_not_sustained_though_the_latency_is_low_yet():
    found = judged(500.0, np.linspace(0, 90, 5000))
    assert not found.sustained and found.reason == "the backlog grows" and found.growth > 0


def test_the_largest_latency_stands_for_a_p99_of_too_few_events():
    latencies = np.full(20, 10.0)
    latencies[-1] = 300.0
    found = judged(2.0, latencies)
    assert found.p99_ms is None and "p99" in found.reason
