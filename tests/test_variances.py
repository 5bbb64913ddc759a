"""Intervals of systems that were measured alike: as wide as they say, and Student's t where nothing can be shared."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crayfish.results import variances
from crayfish.spec import metrics

TRIALS = 300


def drawn(random: np.random.Generator, spreads: list[float], count: int) -> list[list[float]]:
    """Repetitions of systems whose mean is 1."""
    return [np.exp(random.normal(0, spread, count)).tolist() for spread in spreads]


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize(
    ("spreads", "least"),
    [
        ([0.05] * 10, 0.93),
        ([0.05] * 4, 0.91),
        ([0.02] * 5 + [0.06] * 5, 0.91),
        ([0.03] * 9 + [0.3], 0.93),
        ([0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2], 0.91),
    ],
    ids=["equal", "few", "two kinds", "one is noisy", "all differ"],
)
def test_intervals_hold_the_mean_as_often_as_they_say(spreads, least, count):
    random = np.random.default_rng(1)
    held = [
        interval.low <= 1 <= interval.high
        for _ in range(TRIALS)
        for interval in variances.intervals(drawn(random, spreads, count))
    ]
    assert np.mean(held) >= least


def test_one_noisy_system_is_as_wide_as_alone_and_widens_no_other():
    random, ratios, alone = np.random.default_rng(2), [], 0
    for _ in range(TRIALS):
        values = drawn(random, [0.03] * 8 + [0.5], 3)
        *quiet, noisy = variances.intervals(values)
        without = variances.intervals(values[:-1])
        ratios += [
            math.log(one.high / one.low) / math.log(two.high / two.low) for one, two in zip(quiet, without, strict=True)
        ]
        alone += noisy == metrics.log_interval(values[-1])
    assert np.median(ratios) == pytest.approx(1) and alone > 0.9 * TRIALS


def test_systems_of_one_spread_have_narrower_intervals_than_each_alone():
    random, ratios = np.random.default_rng(3), []
    for _ in range(TRIALS):
        values = drawn(random, [0.05] * 8, 3)
        own = [metrics.log_interval(each) for each in values]
        shared = variances.intervals(values)
        ratios += [
            math.log(one.high / one.low) / math.log(two.high / two.low) for one, two in zip(shared, own, strict=True)
        ]
    assert np.median(ratios) < 0.7


VALUES = st.lists(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=5), min_size=1, max_size=6)


@given(VALUES, st.floats(1e-3, 1e3))
def test_means_are_their_own_and_a_unit_changes_nothing(values, factor):
    found = variances.intervals(values)
    scaled = variances.intervals([[factor * value for value in each] for each in values])
    for each, one, two in zip(values, found, scaled, strict=True):
        assert one.mean == pytest.approx(metrics.log_interval(each).mean) and one.n == len(each)
        assert (one.low is None) == (len(each) == 1)
        if one.low is not None:
            assert 0 < one.low <= one.mean * (1 + 1e-9) and one.mean <= one.high * (1 + 1e-9)
            assert two.mean == pytest.approx(factor * one.mean, rel=1e-6)


@pytest.mark.parametrize("values", [[[0.0, 1.0], [1.0, 2.0], [3.0, 4.0]], [[1.0, 1.1], [2.0, 2.5]], [[5.0, 5.0]] * 4])
def test_what_can_share_nothing_is_students_t_of_its_own(values):
    assert variances.intervals(values) == [metrics.mean_interval(each) for each in values]
    assert variances.intervals(values, plain=True) == [metrics.t_interval(each) for each in values]


def test_what_differs_by_rounding_alone_is_equal():
    equal = [[30.000000000000004, 29.999999999999996, 30.0], [30.0, 30.0, 30.000000000000007], [30.0, 30.0, 30.0]]
    for interval in variances.intervals([*equal, [30.0001, 30.0, 30.0], [29.9, 30.1, 30.0]]):
        assert interval.low <= interval.mean <= interval.high
        assert interval.mean == pytest.approx(30, rel=1e-2)
