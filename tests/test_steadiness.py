"""When a warm-up ends: at its time where latency is even, later while it falls, and never after its bound."""

import numpy as np
import pytest

from crayfish.harness.steadiness import Slice, Warmup, gain
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import Segment

SLICE_S, RATE = 0.25, 500.0


def ended(warmup: Warmup, latency_of, spread: float = 0.01, seed: int = 1) -> float | None:
    """When it ended, of a system whose latency (ms) is this function of time, with a spread of its logarithm."""
    noise = np.random.default_rng(seed)
    for end_s in np.arange(SLICE_S, 60.0, SLICE_S):
        warmup.add(end_s, int(RATE * SLICE_S), latency_of(end_s) * np.exp(noise.normal(0, spread)))
        if warmup.ends_s is not None:
            break
    return warmup.ends_s


def test_an_even_latency_ends_the_warm_up_at_its_time():
    assert ended(Warmup(5, 15, RATE), lambda s: 3.0) == 5


def test_a_latency_that_grows_ends_the_warm_up_at_its_time():
    assert ended(Warmup(5, 15, RATE), lambda s: 3.0 * s) == 5


def test_a_latency_that_falls_extends_the_warm_up_until_it_no_longer_does():
    warmup = Warmup(5, 30, RATE)
    assert 10 <= ended(warmup, lambda s: 3.0 + 60.0 * max(0.0, 10 - s)) <= 18
    assert warmup.steady


def test_a_latency_that_falls_for_ever_ends_the_warm_up_at_its_bound():
    warmup = Warmup(5, 15, RATE)
    assert ended(warmup, lambda s: 3.0 * np.exp(-s / 5)) == 15
    assert not warmup.steady


def test_a_fall_that_is_slow_and_noisy_is_seen_too():
    """A quarter of the latency still goes after the least warm-up, over 8 s, and slices differ by 10 %."""
    warmups = [Warmup(4, 20, RATE) for _ in range(100)]
    ends = [
        ended(warmup, lambda s: 4.0 * (1 + max(0.0, 12 - s) / 24), 0.1, seed) for seed, warmup in enumerate(warmups)
    ]
    assert np.mean(np.array(ends) >= 8) > 0.6
    assert np.mean(ends) > 9


def test_noise_alone_costs_a_few_seconds_and_hardly_ever_a_warning():
    warmups = [Warmup(4, 20, RATE) for _ in range(200)]
    ends = [ended(warmup, lambda s: 4.0, 0.3, seed) for seed, warmup in enumerate(warmups)]
    assert np.mean(ends) < 7
    assert np.mean([warmup.steady for warmup in warmups]) > 0.98


def test_a_gain_of_less_than_a_twentieth_is_none():
    assert ended(Warmup(5, 15, RATE), lambda s: 3.0 * 0.98 ** (s / 2)) == 5


def test_too_few_events_for_two_blocks_are_not_judged():
    assert Warmup(5, 15, rate=1.0).ends_s == 5
    assert Warmup(5, 5, RATE).ends_s == 5


def test_micro_batches_make_blocks_of_several_batches():
    slices = [Slice(end_s, 900, 3000.0 - 100 * end_s) for end_s in range(1, 9)]
    assert gain(slices[:7]) is None
    assert gain(slices).share == pytest.approx(1 - 2350 / 2750)


def test_a_bound_below_the_warm_up_is_refused_with_both():
    with pytest.raises(CrayfishError, match=r"load\.warmup_at_most_s: 3 is less than load\.warmup_s \(5"):
        Segment("constant", rate=1.0, warmup_at_most_s=3)


def test_only_loads_whose_events_come_alike_are_extended():
    assert Segment("poisson", rate=1.0, warmup_s=4.0).longest_warmup_s == 20
    assert Segment("poisson", rate=1.0, warmup_s=40.0).longest_warmup_s == 60
    assert Segment("constant", rate=1.0, warmup_s=4.0, warmup_at_most_s=4.0).longest_warmup_s == 4
    assert Segment("backlog", warmup_s=4.0, warmup_at_most_s=9.0).longest_warmup_s == 4
