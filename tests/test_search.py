"""The search for a sustainable rate on simulated systems of known capacity: what it finds, how surely, in how long."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crayfish.harness import search

START_NS = 1_790_000_000_000_000_000
WARMUP_S, PROBE_S, LONG_S = 1.0, 4.0, 70.0
SETTLING_S = 0.7  # of a probe, beside its load: the commands, the drain, the tables


class System:
    """A queue with one server, whose speed may grow with the seconds that it has worked, and change from probe to
    probe; it takes what is there every `batch_s`."""

    def __init__(self, capacity: float, seed: int = 0, noise: float = 0.0, cold_s: float = 0.0, batch_s: float = 0.0):
        self.capacity, self.noise, self.cold_s, self.batch_s = capacity, noise, cold_s, batch_s
        self.random = np.random.default_rng(seed)
        self.now_s = 0.0

    def speed(self) -> float:
        cold = 1 - 0.95 * np.exp(-self.now_s / self.cold_s) if self.cold_s else 1.0
        return self.capacity * cold * self.random.lognormal(0, self.noise)

    def answers(self, due_s: np.ndarray) -> np.ndarray:
        """When each event is answered, s; service times are exponential."""
        arrived = due_s if not self.batch_s else np.ceil(due_s / self.batch_s) * self.batch_s
        served = np.cumsum(self.random.exponential(1 / self.speed(), len(due_s)))
        done = served + np.maximum.accumulate(arrived - np.concatenate([[0.0], served[:-1]]))
        self.now_s += float(done[-1])
        return done + 0.002

    def burst(self, events: int) -> search.Burst:
        done = self.answers(np.zeros(events))
        due = np.full(events, START_NS)
        appended = START_NS // 1_000_000 + (1000 * done).astype(np.int64)
        return search.drained(due, appended, np.arange(events) % 8)

    def probe(self, rate: float, seconds: float = PROBE_S) -> search.Probe:
        due_s = np.arange(max(2, int(rate * (WARMUP_S + seconds)))) / rate
        done = self.answers(due_s)
        due = START_NS + (due_s * 1e9).astype(np.int64)
        received = START_NS + (done * 1e9).astype(np.int64)
        return judged(rate, due, received)


def judged(rate: float, due: np.ndarray, received: np.ndarray) -> search.Probe:
    window_start = START_NS + int(WARMUP_S * 1e9)
    return search.judge(rate, due, received, received // 1_000_000, window_start)


def searched(system: System, own_ms: float = 1000.0, event_bytes: int = 3136) -> tuple[dict, list[search.Probe]]:
    """A whole search, as its driver does it; time is what the simulated system has worked."""
    bursts: list[search.Burst] = []
    while events := search.next_burst(bursts, event_bytes, 8, 1e9):
        bursts.append(system.burst(events))
    probes: list[search.Probe] = []
    began = system.now_s
    while system.now_s - began < LONG_S:
        probes.append(system.probe(search.next_rate(probes, bursts[-1].rate, search.objectives(own_ms))))
        system.now_s += SETTLING_S
    return search.result(probes, bursts, own_ms), probes


def within(found: dict, true: float, own_ms: float = 1000.0) -> bool:
    estimate = found["objectives_ms"][f"{own_ms:g}"]
    return estimate["low"] <= true and (estimate["high"] is None or true <= estimate["high"])


# --- the five faults of the search before -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_cold_engine_is_not_capped_by_its_first_failures(seed):
    found, _ = searched(System(5000, seed, noise=0.05, cold_s=8))
    assert found["sustainable_events_per_s"] == pytest.approx(5000, rel=0.1)


def test_failures_of_the_first_probes_are_outvoted():
    probes = [search.Probe(rate, 5000.0, None, True, False, 0.0) for rate in (400, 450)]
    probes += [search.Probe(rate, 50.0, 0.0, False, False, 0.0) for rate in (420, 440, 450, 460, 700, 900)]
    probes += [search.Probe(rate, 5000.0, None, True, False, 0.0) for rate in (1000, 1100)]
    assert 900 <= search.estimate(probes, 1000.0)["rate"] <= 1000


def test_the_resolution_is_in_the_interval():
    probes = [search.Probe(rate, 50.0, 0.0, False, False, 0.0) for rate in (800.0, 950.0)] * 4
    probes += [search.Probe(rate, 9000.0, None, True, False, 0.0) for rate in (1050.0, 1100.0)] * 4
    found = search.estimate(probes, 1000.0)
    assert found["low"] <= 950 < found["rate"] < 1050 <= found["high"]


def test_systems_half_a_percent_apart_are_not_told_apart():
    first, second = (searched(System(capacity, seed))[0] for seed, capacity in enumerate((1000, 1005)))
    one, other = (found["objectives_ms"]["1000"] for found in (first, second))
    assert one["low"] < other["high"] and other["low"] < one["high"]


def growing(rate: float, growth: float) -> search.Probe:
    """A probe without any noise, in which the backlog grows by a share of the rate."""
    due_s = np.arange(int(rate * (WARMUP_S + PROBE_S))) / rate
    due, received = (START_NS + (times * 1e9).astype(np.int64) for times in (due_s, 0.01 + due_s * (1 + growth)))
    return judged(rate, due, received)


def test_a_growth_below_1_percent_of_the_rate_is_no_overload():
    slow = growing(10_000, 0.005)
    assert slow.growth > 0 and not slow.overloaded and slow.score(1000) < 0


def test_an_overload_of_12_percent_fails_a_short_probe_though_the_latency_is_low_yet():
    found = [System(10_000, seed).probe(11_200, 3.0) for seed in range(20)]
    assert all(probe.p99_ms < 1000 and probe.overloaded and probe.score(1000) > 0 for probe in found)
    assert np.median([probe.capacity for probe in found]) == pytest.approx(10_000, rel=0.02)


def test_an_engine_that_works_in_batches_does_not_count_as_overloaded():
    found = [System(10_000, seed, batch_s=0.7).probe(rate) for seed in range(20) for rate in (5000, 7000)]
    assert np.mean([probe.overloaded for probe in found]) < 0.2


def test_a_probe_that_is_far_behind_and_climbs_is_cut_off():
    climbing = [(500.0 * step, 1000 * step) for step in range(1, 9)]
    assert search.climbs(1000, climbing) and not search.climbs(3000, climbing)
    assert not search.climbs(1000, climbing[:3])
    recovering = [*climbing, (3900.0, 8500)]
    assert not search.climbs(1000, recovering)


# --- properties -------------------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(capacity=st.floats(50, 5000), seed=st.integers(0, 10**6))
def test_it_ends_near_the_capacity(capacity, seed):
    found, probes = searched(System(capacity, seed, noise=0.03))
    near = found["sustainable_events_per_s"] == pytest.approx(capacity, rel=0.1)
    assert near or within(found, capacity)  # probes of few events tell less, and the interval says so
    assert len(probes) <= LONG_S / (WARMUP_S + PROBE_S)


@pytest.mark.parametrize("noise", [0.02, 0.06])
def test_the_interval_holds_the_truth_and_is_narrow(noise):
    runs = [searched(System(2000, seed, noise=noise))[0] for seed in range(30)]
    assert np.mean([within(found, 2000) for found in runs]) >= 0.9
    widths = [
        (each["high"] - each["low"]) / each["rate"] / 2 for each in (found["objectives_ms"]["1000"] for found in runs)
    ]
    assert np.median(widths) <= 0.1
    assert np.std([found["sustainable_events_per_s"] for found in runs]) / 2000 <= 0.05


@pytest.mark.parametrize("wrong", [0.4, 2.5])
def test_a_warm_up_that_tells_another_capacity_is_overcome(wrong):
    system, probes = System(4000, 3, noise=0.02), []
    for _ in range(14):
        probes.append(system.probe(search.next_rate(probes, wrong * 4000, search.objectives(1000.0))))
    found = search.result(probes, [search.Burst(1, 1.0, wrong * 4000)], 1000.0)
    assert found["sustainable_events_per_s"] == pytest.approx(4000, rel=0.1)
    assert any("the warm-up was drained" in text for text in search.warnings_of(probes, found, 1000.0))


def curved(rate: float) -> search.Probe:
    """p99 of 20 ms at rest, with 100 ms at 800, 300 at 933 and 1 000 at 980 of 1 000 events/s."""
    overloaded = rate >= 1000
    return search.Probe(rate, 1e5 if overloaded else 20 / (1 - rate / 1000), None, overloaded, False, 0.0)


def test_several_objectives_come_from_the_same_probes():
    probes: list[search.Probe] = []
    for _ in range(14):
        probes.append(curved(search.next_rate(probes, 1000.0, search.objectives(300.0))))
    found = search.result(probes, [search.Burst(1, 1.0, 1000.0)], 300.0)
    assert found["sustainable_events_per_s"] == pytest.approx(933, rel=0.03)
    for objective, rate in {"100": 800, "300": 933, "1000": 980}.items():
        assert found["objectives_ms"][objective]["rate"] == pytest.approx(rate, rel=0.06)
    assert curved(probes[found["shown"]].rate).p99_ms <= 300
    assert list(found["objectives_ms"]) == ["100", "300", "1000"]


def test_an_objective_that_no_rate_meets_takes_no_more_probes_than_one_that_is_met():
    probes: list[search.Probe] = []
    for _ in range(14):
        rate = search.next_rate(probes, 1000.0, search.objectives(1000.0))
        probes.append(search.Probe(rate, 600.0, 0.0, rate > 1000, False, 0.0))
    found = search.result(probes, [search.Burst(1, 1.0, 1000.0)], 1000.0)
    assert found["sustainable_events_per_s"] == pytest.approx(1000, rel=0.04)
    assert found["objectives_ms"]["100"]["rate"] is None and found["objectives_ms"]["100"]["low"] == 0
    assert min(probe.rate for probe in probes) >= 0.5 * 1000


def test_a_system_that_sustains_nothing_has_the_rate_0_and_a_warning():
    probes: list[search.Probe] = []
    for _ in range(14):
        rate = search.next_rate(probes, 1000.0, search.objectives(1000.0))
        probes.append(search.Probe(rate, 5000.0, 0.0, False, False, 0.0))
    found = search.result(probes, [search.Burst(1, 1.0, 1000.0)], 1000.0)
    assert found["sustainable_events_per_s"] == 0
    (warning,) = search.warnings_of(probes, found, 1000.0)
    assert "no rate was sustained" in warning and "p99 5000 of 1000 ms" in warning


def test_a_system_that_never_fails_has_a_warning():
    probes = [search.Probe(rate, 5.0, 0.0, False, False, 0.0) for rate in (800.0, 1000.0, 1100.0)]
    found = search.result(probes, [search.Burst(1, 1.0, 1000.0)], 1000.0)
    assert found["sustainable_events_per_s"] == 1100 and found["objectives_ms"]["1000"]["high"] is None
    assert "found no limit" in search.warnings_of(probes, found, 1000.0)[0]


def test_a_generator_that_was_late_where_probes_failed_is_told():
    probes = [search.Probe(rate, 5.0, 0.0, False, False, 0.5) for rate in (800.0, 900.0)] * 3
    probes += [search.Probe(rate, 5000.0, 0.0, True, False, 0.2) for rate in (1000.0, 1100.0)] * 3
    found = search.result(probes, [search.Burst(1, 1.0, 1000.0)], 1000.0)
    (warning,) = search.warnings_of(probes, found, 1000.0)
    assert "late for up to 20%" in warning


# --- a probe and a burst ----------------------------------------------------------------------------------------------


def test_a_latency_above_the_objective_fails_by_how_much():
    due = START_NS + np.arange(2500) * 2_000_000
    probe = judged(500.0, due, due + 150_000_000)
    assert not probe.overloaded and probe.p99_ms == 150
    assert probe.score(100) == pytest.approx(np.log(1.5)) and probe.score(300) < 0
    assert probe.score(10) == search.BOUND


def test_the_largest_latency_stands_for_a_p99_of_too_few_events():
    due = START_NS + np.arange(20) * 500_000_000
    late = np.where(np.arange(20) == 19, 300_000_000, 10_000_000)
    assert judged(2.0, due, due + late).p99_ms == 300


def test_a_cut_off_probe_tells_the_capacity():
    due = START_NS + np.arange(6000) * 500_000  # 2 000/s for 3 s, answered at 1 000/s
    received = START_NS + np.arange(6000) * 1_000_000
    probe = search.judge(2000.0, due, received, received // 1_000_000, START_NS + 10**10, cut=True)
    assert probe.overloaded and probe.capacity == pytest.approx(1000, rel=0.02)
    assert "cut off" in probe.told(1000)


def test_a_burst_counts_until_the_first_partition_is_empty():
    """Two partitions, drained at 1 000 and 500 events/s: together 1 500, and 1 000 to the tail."""
    fast, slow = np.arange(4000), np.arange(4000) * 2
    appended = np.concatenate([fast, slow]) + START_NS // 1_000_000
    due = np.full(8000, START_NS)
    partition = np.repeat([0, 1], 4000)
    assert search.drained(due, appended, partition).rate == pytest.approx(1500, rel=0.01)


@given(rate=st.floats(0.2, 1e5), event_bytes=st.integers(100, 10**7), seed=st.integers(0, 1000))
def test_the_warm_up_ends(rate, event_bytes, seed):
    random, bursts = np.random.default_rng(seed), []
    while events := search.next_burst(bursts, event_bytes, 8, 1e9):
        assert events <= max(8, 1e9 / event_bytes)
        speed = rate * random.lognormal(0, 0.2)
        bursts.append(search.Burst(events, events / speed, speed))
        assert len(bursts) < 40
    assert len(bursts) >= 2 or bursts[0].seconds > search.WARMUP_S  # so slow that one tells the rate


def test_the_warm_up_of_an_engine_that_gets_faster_goes_on():
    system, bursts = System(5000, cold_s=8), []
    while events := search.next_burst(bursts, 3136, 8, 1e9):
        bursts.append(system.burst(events))
    assert bursts[-1].rate == pytest.approx(5000, rel=0.2)
