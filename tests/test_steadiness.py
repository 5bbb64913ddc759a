"""When a warm-up ends: at its time where latency is even, later while it falls, and never after its bound."""

import numpy as np
import pytest

from crayfish.harness.steadiness import Slice, Warmup, gains
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import Segment

SLICE_S, RATE = 0.25, 500.0


def ended(warmup: Warmup, latency_of, until_s: float = 60.0) -> float | None:
    """When it ended, of a system whose latency (ms) is this function of time."""
    noise = np.random.default_rng(1)
    for end_s in np.arange(SLICE_S, until_s, SLICE_S):
        warmup.add(end_s, int(RATE * SLICE_S), latency_of(end_s) * noise.normal(1, 0.01))
        if warmup.ends_s is not None:
            break
    return warmup.ends_s


def test_an_even_latency_ends_the_warm_up_at_its_time():
    assert ended(Warmup(5, 15, RATE), lambda s: 3.0) == 5


def test_a_latency_that_grows_ends_the_warm_up_at_its_time():
    assert ended(Warmup(5, 15, RATE), lambda s: 3.0 * s) == 5


def test_a_latency_that_falls_extends_the_warm_up_until_it_no_longer_does():
    warmup = Warmup(5, 30, RATE)
    assert 10 <= ended(warmup, lambda s: 3.0 + 60.0 * max(0.0, 10 - s)) <= 16
    assert warmup.steady


def test_a_latency_that_falls_for_ever_ends_the_warm_up_at_its_bound():
    warmup = Warmup(5, 15, RATE)
    assert ended(warmup, lambda s: 3.0 * np.exp(-s / 5)) == 15
    assert not warmup.steady


def test_a_gain_of_less_than_a_twentieth_is_none():
    assert ended(Warmup(5, 15, RATE), lambda s: 3.0 * 0.98 ** (s / 2)) == 5


def test_too_few_events_for_two_blocks_are_not_judged():
    assert Warmup(5, 15, rate=1.0).ends_s == 5
    assert Warmup(5, 5, RATE).ends_s == 5


def test_micro_batches_make_blocks_of_several_batches():
    slices = [Slice(end_s, 900, 3000.0 - 100 * end_s) for end_s in range(1, 9)]
    assert gains(slices[:7]) is None and gains(slices) is True


def test_a_bound_below_the_warm_up_is_refused_with_both():
    with pytest.raises(CrayfishError, match=r"load\.warmup_at_most_s: 3 is less than load\.warmup_s \(5"):
        Segment("constant", rate=1.0, warmup_at_most_s=3)


def test_only_loads_whose_events_come_alike_are_extended():
    assert Segment("poisson", rate=1.0, warmup_s=4.0).longest_warmup_s == 12
    assert Segment("constant", rate=1.0, warmup_s=4.0, warmup_at_most_s=4.0).longest_warmup_s == 4
    assert Segment("backlog", warmup_s=4.0, warmup_at_most_s=9.0).longest_warmup_s == 4
