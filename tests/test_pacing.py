"""When events are due: the promises of crayfish.harness.pacing, over loads that hypothesis draws."""

import math

import numpy as np
import pytest
import sampling
from hypothesis import given
from hypothesis import strategies as st

from crayfish.harness import pacing
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import Segment

rates = st.floats(30, 5000)  # so that a Poisson load of 1 s has an event
warmups = st.floats(0, 5)
spans = st.floats(1, 20)
loads = st.builds(
    Segment,
    kind=st.sampled_from([name for name, load in sampling.by_numbers().items() if not load.searches]),
    shape=st.floats(0.5, 5),
    rate=rates,
    warmup_s=warmups,
    measure_s=spans,
    peak_rate=rates,
    burst_s=st.floats(0.1, 5),
    between_s=st.floats(0.1, 5),
)


def rate_integral(load: Segment, until_s: float) -> float:
    """Events until a time, by adding up the rate over the base and burst phases one by one."""
    total, now, phase = 0.0, 0.0, load.warmup_s
    rates_in_turn = [load.rate] if load.kind != "bursty" else [load.rate, load.rate, load.peak_rate]
    lengths = [math.inf] if load.kind != "bursty" else [phase, load.between_s, load.burst_s]
    turn = 0
    while now < until_s:
        length = min(lengths[turn], until_s - now)
        total, now = total + rates_in_turn[turn] * length, now + length
        turn = turn + 1 if turn + 1 < len(lengths) else max(0, len(lengths) - 2)
    return total


@given(loads, st.integers(0, 2**31))
def test_due_times_are_sorted_inside_the_segment_and_repeatable(load, seed):
    due = pacing.due_offsets(load, seed)
    assert due.dtype == np.int64
    assert (np.diff(due) >= 0).all()
    assert due[0] >= 0
    assert due[-1] <= (load.warmup_s + load.measure_s) * 1e9 + 1
    assert np.array_equal(due, pacing.due_offsets(load, seed))


@given(loads.filter(lambda load: load.kind in ("constant", "bursty")), st.floats(0, 1), st.floats(0, 1))
def test_count_in_any_interval_follows_the_integral_of_the_rate(load, one, other):
    due = pacing.due_offsets(load, 1) / 1e9
    start, end = sorted(part * (load.warmup_s + load.measure_s) for part in (one, other))
    counted = np.searchsorted(due, end) - np.searchsorted(due, start)
    # 1 event at either edge, and 1 ns of rounding, which at these rates is less than an event.
    assert abs(counted - (rate_integral(load, end) - rate_integral(load, start))) <= 1.001


@given(rates, warmups, spans)
def test_a_backlog_is_due_at_once_and_as_large_as_its_pilot_says(rate, warmup_s, measure_s):
    due = pacing.due_offsets(Segment("backlog", rate=rate, warmup_s=warmup_s, measure_s=measure_s), 1)
    assert abs(len(due) - rate * (warmup_s + measure_s)) < 1
    assert not due.any()


@pytest.mark.parametrize(("rate", "measure_s", "count"), [(0.1, 30.0, 3), (512.0, 20.0, 10240), (1 / 3, 10.0, 4)])
def test_rounding_makes_no_event(rate, measure_s, count):
    due = pacing.due_offsets(Segment("constant", rate=rate, warmup_s=0.0, measure_s=measure_s), 1)
    assert len(due) == count
    assert np.allclose(np.diff(due), 1e9 / rate, atol=1)


@given(st.floats(500, 3000), st.integers(0, 2**31))
def test_poisson_gaps_are_exponential(rate, seed):
    due = pacing.due_offsets(Segment("poisson", rate=rate, warmup_s=0.0, measure_s=20.0), seed)
    assert abs(len(due) - 20 * rate) < 6 * math.sqrt(20 * rate)
    gaps = np.diff(due) / 1e9 * rate
    assert abs(gaps.mean() - 1) < 6 / math.sqrt(len(gaps))
    assert abs(gaps.std() - 1) < 12 / math.sqrt(len(gaps))
    assert not np.array_equal(
        due, pacing.due_offsets(Segment("poisson", rate=rate, warmup_s=0.0, measure_s=20.0), seed + 1)
    )


@given(st.floats(500, 3000), st.floats(0.05, 20), st.integers(0, 2**31))
def test_gamma_gaps_have_their_shape(rate, shape, seed):
    load = Segment("gamma", rate=rate, shape=shape, warmup_s=0.0, measure_s=20.0)
    due = pacing.due_offsets(load, seed)
    assert np.array_equal(due, pacing.due_offsets(load, seed)) and (np.diff(due) >= 0).all() and due[-1] < 20e9
    assert abs(len(due) - 20 * rate) < 6 * math.sqrt(20 * rate / shape) + 6
    gaps = np.diff(due) / 1e9 * rate
    spread = math.sqrt(1 / shape)
    assert abs(gaps.mean() - 1) < 7 * spread / math.sqrt(len(gaps))
    assert gaps.std() == pytest.approx(spread, rel=40 * max(1, spread) / math.sqrt(len(gaps)))


def test_bursts_come_after_a_gap_and_are_cut_by_the_end():
    load = Segment("bursty", rate=10, warmup_s=5, measure_s=100, peak_rate=20, burst_s=30, between_s=40)
    assert load.bursts == [(45.0, 75.0)]
    longer = Segment("bursty", rate=10, warmup_s=5, measure_s=130, peak_rate=20, burst_s=30, between_s=40)
    assert longer.bursts == [(45.0, 75.0), (115.0, 135.0)]
    due = pacing.due_offsets(longer, 1) / 1e9
    assert np.histogram(due, [0, 45, 75, 115, 135])[0].tolist() == [450, 600, 400, 400]


def test_a_backlog_without_a_pilots_rate_is_refused():
    with pytest.raises(CrayfishError, match="make no event of a backlog load"):
        pacing.due_offsets(Segment("backlog"), 1)


@pytest.mark.parametrize(
    ("load", "size"),
    [
        (Segment("constant", rate=100.0), 1),
        (Segment("constant", rate=2048.0), 4),
        (Segment("poisson", rate=20_000.0), 40),
        (Segment("constant", rate=1e7), pacing.MOST_TOGETHER),
        (Segment("constant", rate=1e6, warmup_s=0.0, measure_s=0.001), 1),  # each partition has several turns
    ],
)
def test_what_is_due_within_2_ms_goes_together(load, size):
    assert pacing.together(load, partitions=8) == size


@given(loads.filter(lambda load: not load.saturated), st.integers(1, 32), st.integers(1, 5000))
def test_partitions_take_turns_of_what_goes_together(load, partitions, events):
    found, size = pacing.partitions_of(load, events, partitions), pacing.together(load, partitions)
    shares = np.bincount(found, minlength=partitions)
    assert shares.max() - shares.min() <= size
    assert (found[:: size * partitions] == 0).all()
    assert np.count_nonzero(np.diff(found)) == (0 if partitions == 1 else (events - 1) // size)


def test_a_backlog_goes_round_event_by_event():
    assert pacing.partitions_of(Segment("backlog", rate=1e6), 5, 4).tolist() == [0, 1, 2, 3, 0]
