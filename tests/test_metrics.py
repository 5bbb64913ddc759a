"""The metrics, against numpy and scipy and against their definitions on data that hypothesis draws."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from crayfish.spec import metrics
from crayfish.spec.metrics import Interval

latencies = arrays(float, st.integers(1, 3000), elements=st.floats(0, 1e5), fill=st.floats(0, 1e5))
values = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30)
positives = st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=12)


# --- the measured window -------------------------------------------------------------------------------------------


def drain(rates: list[float], partitions: int, each: int, ramp=lambda share: share) -> tuple[np.ndarray, np.ndarray]:
    """A drained backlog: instance I has the partitions I, I + N, ... of `each` events and answers them in turn, so many
    a second; ramp distorts its time (both as shares of the whole). Append times in ms, and partitions."""
    appended, where = [], []
    for instance, rate in enumerate(rates):
        own = np.arange(instance, partitions, len(rates))
        count = each * len(own)
        seconds = ramp(np.arange(1, count + 1) / count) * count / rate
        appended.append((1000 * seconds).astype(np.int64) + 1)
        where.append(np.tile(own, each))
    return np.concatenate(appended), np.concatenate(where)


def busy_until(appended: np.ndarray, where: np.ndarray, left: list[int], instances: int) -> int:
    """Of a drain whose partitions `left` still hold events."""
    ends = np.zeros(where.max() + 1, np.int64)
    np.maximum.at(ends, where, appended)
    return metrics.always_busy_until(ends, np.isin(np.arange(len(ends)), left), instances)


def drained_rate(rates: list[float], partitions: int, each: int, **how) -> float:
    """What is read of such a drain, whose warm-up ends after a quarter of its shortest part."""
    appended, where = drain(rates, partitions, each, **how)
    busy = busy_until(appended, where, [], len(rates))
    start, end = metrics.drained_window(appended, busy / 4, busy, busy / 2000)
    return metrics.throughput(appended[(appended >= start) & (appended <= end)])


@pytest.mark.parametrize(
    ("rates", "partitions"),
    [
        ([10_000, 8_000], 8),
        ([5_000, 5_000, 5_000], 8),  # with 3, 3 and 2 partitions
        ((1_000 * (1 + 0.05 * np.random.default_rng(1).normal(size=32))).tolist(), 32),
        ([7_000], 8),
    ],
)
def test_a_backlog_is_measured_as_long_as_every_instance_has_work(rates, partitions):
    """To their end these drains read 14 700 of 18 000, and 0.85 and 0.86 of the sum: instances are idle there."""
    assert drained_rate(rates, partitions, 20_000) == pytest.approx(sum(rates), rel=0.005)


def test_a_single_instance_that_takes_one_partition_after_the_other_is_busy_to_the_end():
    appended = np.arange(8_000)
    one_by_one = appended // 1000
    assert busy_until(appended, one_by_one, [], 1) == 7_999
    assert busy_until(appended, one_by_one, [], 2) == 3_999  # one of two may have nothing left
    assert busy_until(appended, one_by_one, [], 8) == 999


def test_partitions_that_were_not_drained_leave_no_instance_idle():
    appended, where = np.arange(100), np.arange(100) % 4
    assert busy_until(appended, where, [0, 1, 2, 3], 4) == 99
    assert busy_until(appended, where, [0, 1, 3], 4) == 98


def test_a_window_starts_where_throughput_no_longer_rises():
    def warming(share):  # slower by half at first, and as fast as ever after a third of the events
        return share + 0.15 * (1 - np.exp(-share / 0.1))

    last = drained_rate([10_000], 4, 50_000)
    assert last == pytest.approx(10_000, rel=0.01)
    appended, _ = drain([10_000], 4, 50_000, warming)
    end = int(appended.max())
    start, _ = metrics.drained_window(appended, 1_000, end, end / 2000)
    assert 3_000 < start <= 0.75 * end
    assert metrics.throughput(appended[appended >= start]) == pytest.approx(10_000, rel=0.02)
    late_start, _ = metrics.drained_window(appended, 1_000, end, 2 * (end - 1_000) / 1000)
    assert late_start == 1_000  # half of what was wanted is not there
    falling, _ = metrics.drained_window(end + 1 - appended, 1_000, end, end / 2000)
    assert falling == 1_000


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=200), st.integers(-10, 2 * 10**6), st.floats(0.1, 1e4))
def test_a_drained_backlog_always_has_a_window(times, warmup_end, measure_s):
    times = np.array(times)
    start, end = metrics.drained_window(times, warmup_end, int(times.max()), measure_s)
    assert start <= end == times.max()
    assert start >= min(warmup_end, (int(times.min()) + int(times.max())) / 2) - 1e-6


@given(st.integers(0, 200))
def test_the_paper_s_window_leaves_out_the_first_quarter(count):
    assert len(np.arange(count)[metrics.paper_window(count)]) == 3 * count // 4


# --- rates and latencies -------------------------------------------------------------------------------------------


@given(st.integers(2, 500), st.integers(1, 50), st.randoms())
def test_throughput_of_even_appends_is_their_rate_in_any_order(count, gap_ms, random):
    appended = [1_790_000_000_000 + index * gap_ms for index in range(count)]
    random.shuffle(appended)
    assert metrics.throughput(np.array(appended)) == pytest.approx(1000 / gap_ms)


@pytest.mark.parametrize("appended", [[], [5], [5, 5, 5]])
def test_throughput_over_no_time_is_none(appended):
    assert metrics.throughput(np.array(appended, np.int64)) is None


def test_throughput_of_a_paced_load_is_what_was_appended_meanwhile():
    appended = np.array([1999, 2000, 2000, 2500, 3999, 4000])
    assert metrics.throughput_within(appended, 2_000_000_000, 4_000_000_000) == 2.0
    assert metrics.throughput_within(appended[:0], 0, 10**9) == 0.0
    assert metrics.throughput_within(appended, 10**9, 10**9) is None


@given(latencies, st.sampled_from(sorted(metrics.PER_MILLE.values())))
def test_percentiles_are_numpys_and_have_ten_events_above(sample, per_mille):
    ordered = np.sort(sample)
    found = metrics.percentile(ordered, per_mille)
    if len(ordered) * (1000 - per_mille) < 10_000:
        assert found is None
    else:
        assert found == pytest.approx(np.quantile(ordered, per_mille / 1000))


@pytest.mark.parametrize(
    ("name", "needed"), [("p50", 20), ("p90", 100), ("p95", 200), ("p99", 1000), ("p99_9", 10_000)]
)
def test_how_many_events_a_percentile_needs(name, needed):
    assert metrics.percentile(np.zeros(needed), metrics.PER_MILLE[name]) == 0.0
    assert metrics.percentile(np.zeros(needed - 1), metrics.PER_MILLE[name]) is None


@given(latencies)
def test_latency_summary_and_curve_span_the_sample(sample):
    sample = np.sort(sample)
    summary, curve = metrics.latency_summary(sample), metrics.quantile_curve(sample)
    assert (summary["n"], summary["max"]) == (len(sample), sample.max())
    assert summary["mean"] == pytest.approx(sample.mean())
    assert len(curve["ms"]) == len(curve["quantile"]) <= 201
    assert (np.diff(curve["quantile"]) > 0).all()
    assert (np.diff(curve["ms"]) >= 0).all()
    assert curve["ms"][0] == pytest.approx(sample.min(), abs=1e-6)
    assert curve["ms"][-1] == pytest.approx(sample.max(), abs=1e-6)


def test_curve_keeps_the_tail():
    curve = metrics.quantile_curve(np.arange(1_000_000.0))
    assert sum(quantile > 0.99 for quantile in curve["quantile"]) > 70
    assert curve["quantile"][-2] == pytest.approx(1 - 1e-6)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_quantiles_of_curves_have_ten_events_above_and_smaller_samples_have_fewer(count, second_count):
    quantiles = metrics.curve_quantiles(count)
    assert (np.diff(quantiles) > 0).all() and (count * (1 - quantiles) >= 9.999).all()
    assert len(quantiles) == 0 if count < 10 else quantiles[0] == 0
    assert np.isin(metrics.curve_quantiles(min(count, second_count)), quantiles).all()


@given(latencies)
def test_a_curve_between_its_points_is_the_sample_s_quantiles(sample):
    quantiles = metrics.curve_quantiles(len(sample))
    found = metrics.curve_at(metrics.quantile_curve(np.sort(sample)), quantiles)
    assert (np.diff(found) >= -1e-6).all()
    body = quantiles <= 0.9
    assert found[body] == pytest.approx(np.quantile(sample, quantiles[body]), rel=1e-6, abs=1e-5)
    # In the tail the curve has 100 points, so that between two of them it stays within the sample's neighbours.
    ordered, place = np.sort(sample), quantiles[~body] * (len(sample) - 1)
    slack = np.ceil(0.08 * (len(sample) - 1 - place)).astype(int) + 1
    below = ordered[np.maximum(0, np.floor(place).astype(int) - slack)]
    above = ordered[np.minimum(len(sample) - 1, np.ceil(place).astype(int) + slack)]
    assert (found[~body] >= below - 1e-5).all() and (found[~body] <= above + 1e-5).all()


@given(
    arrays(float, st.integers(0, 300), elements=st.floats(-1, 7, allow_subnormal=False)),
    arrays(float, st.integers(0, 50), elements=st.floats(-1, 7, allow_subnormal=False)),
    st.integers(1, 6),
    st.randoms(),
)
def test_seconds_hold_what_was_due_and_appended_in_them(due, appended, seconds, random):
    due, appended = np.sort(due), np.sort(appended)
    latency = np.array([random.choice([np.nan, random.uniform(0, 100)]) for _ in due])
    found = metrics.per_second(due, latency, appended, seconds)
    assert found["second"] == list(range(seconds))
    assert sum(found["due"]) == ((due >= 0) & (due < seconds)).sum()
    assert found["appended"] == [int(((appended >= at) & (appended < at + 1)).sum()) for at in range(seconds)]
    for at in range(seconds):
        answered = latency[(due >= at) & (due < at + 1) & ~np.isnan(latency)]
        assert found["p99_ms"][at] is None
        assert (found["p50_ms"][at] is None) == (len(answered) < 20)
        if len(answered) >= 20:
            assert found["p50_ms"][at] == pytest.approx(np.median(answered))


def test_no_latency_is_none_and_an_empty_curve():
    assert metrics.latency_summary(np.zeros(0)) is None
    assert metrics.quantile_curve(np.zeros(0)) == {"quantile": [], "ms": []}


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**9)), min_size=1, max_size=50))
def test_lateness_is_known_to_half_a_millisecond(events):
    due, late = np.array(events, np.int64).T
    found = metrics.lateness_ms(due, metrics.truncated_ms(due + late))
    assert (np.abs(found - late / 1e6) <= 0.5).all()


def test_lateness_of_times_that_were_not_read_is_none():
    assert metrics.lateness_ms(np.array([0, 10**6]), np.array([5, -1])) is None


def test_late_share_counts_what_exceeds_the_bound():
    assert metrics.late_share(np.array([0.0, 10.0, 10.1, 50.0]), 10.0) == 0.5


# --- accounting and cost -------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=200), st.integers(0, 9))
def test_accounting_adds_up(events, unknown):
    predictions, wrong = np.array(events, np.int64).reshape(-1, 2).T
    wrong = np.minimum(predictions, wrong)
    found = metrics.accounting(predictions, wrong, unknown)
    assert found["sent"] == len(events) == found["distinct"] + found["lost"]
    assert found["distinct"] == sum(count > 0 for count in predictions)
    assert found["received"] == predictions.sum() == found["distinct"] + found["duplicated"]
    assert (found["unknown"], found["wrong"]) == (unknown, wrong.sum())


@given(st.floats(0, 4), st.integers(0, 9_000), st.integers(1, 9_000), st.integers(1, 10**6))
def test_cost_of_a_steady_stage_is_its_rate(cores, start_ms, length_ms, events):
    times = 1_790_000_000_000_000_000 + np.arange(0, 20_000_000_000, 500_000_000)
    used = 7.0 + cores * (times - times[0]) / 1e9
    start = int(times[0]) + start_ms * 1_000_000
    cost = metrics.cost_per_event(times, used, start, start + length_ms * 1_000_000, events)
    assert cost == pytest.approx(cores * length_ms * 1000 / events, rel=1e-6, abs=1e-6)


def test_cost_needs_samples_on_both_sides_and_an_event():
    times, used = np.array([0, 10, 20]), np.array([0.0, 1.0, 2.0])
    assert metrics.cost_per_event(times, used, 5, 21, 1) is None
    assert metrics.cost_per_event(times, used, -1, 15, 1) is None
    assert metrics.cost_per_event(times, used, 5, 15, 0) is None
    assert metrics.cost_per_event(times, used, 5, 15, 1) == pytest.approx(1e6)


# --- repetitions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freedom", "factor"), [(1, 12.70620), (2, 4.30265), (5, 2.57058), (10, 2.22814), (30, 2.04227), (500, 1.96472)]
)
def test_t_quantile_is_that_of_a_printed_table(freedom, factor):
    assert metrics.t_quantile(freedom) == pytest.approx(factor, abs=1e-5)


@given(values)
def test_t_interval_is_scipys(sample):
    found = metrics.t_interval(sample)
    assert found.n == len(sample)
    assert found.mean == pytest.approx(np.mean(sample), abs=1e-9)
    error = scipy.stats.sem(sample)
    if error > 1e-9:
        low, high = scipy.stats.t.interval(0.95, len(sample) - 1, np.mean(sample), error)
        assert (found.low, found.high) == (
            pytest.approx(low, rel=1e-9, abs=1e-5),
            pytest.approx(high, rel=1e-9, abs=1e-5),
        )


def test_one_repetition_has_no_interval():
    alone = metrics.t_interval([3.0])
    assert alone == Interval(3.0, None, None, 1)


def test_the_interval_of_a_positive_figure_is_positive():
    found = metrics.mean_interval([60_000, 70_000, 110_000])
    low, high = scipy.stats.t.interval(
        0.95, 2, np.mean(logs := np.log([60_000, 70_000, 110_000])), scipy.stats.sem(logs)
    )
    assert found == (pytest.approx(77_306, rel=1e-4), pytest.approx(np.exp(low)), pytest.approx(np.exp(high)), 3)
    assert metrics.mean_interval([100.0, 200.0]).low > 0


def test_a_figure_that_can_be_zero_keeps_students_t_on_its_values():
    assert metrics.mean_interval([1.0, 2.0, 3.0], plain=True) == metrics.t_interval([1.0, 2.0, 3.0])
    assert metrics.mean_interval([0.0, 2.0]) == metrics.t_interval([0.0, 2.0])
    with pytest.raises(ValueError, match="no logarithm"):
        metrics.log_interval([0.0, 2.0])


@given(positives, positives)
def test_ratio_interval_is_welchs_on_logarithms(first, second):
    found = metrics.ratio_interval(first, second)
    known = scipy.stats.ttest_ind(np.log(second), np.log(first), equal_var=False)
    low, high = known.confidence_interval(0.95)
    assert found.mean == pytest.approx(np.exp(np.mean(np.log(second)) - np.mean(np.log(first))), rel=1e-6)
    assert found.low <= found.mean <= found.high
    if known.df > 1 and np.std(np.log(first)) + np.std(np.log(second)) > 1e-6:
        assert found.low <= np.exp(low) * (1 + 1e-6) and found.high >= np.exp(high) * (1 - 1e-6)  # fewer whole degrees


def test_a_single_repetition_gives_a_ratio_without_an_interval():
    assert metrics.ratio_interval([2.0], [3.0, 3.0]) == Interval(pytest.approx(1.5), None, None, 3)


# --- change over time ----------------------------------------------------------------------------------------------


@given(st.floats(-1000, 1000), st.integers(3, 20), st.integers(0, 2**31))
def test_slope_of_few_values_is_scipys(steepness, count, seed):
    times = np.arange(count) * 0.5
    sample = steepness * times + np.random.default_rng(seed).normal(0, 5, count)
    found, known = metrics.slope(times, sample), scipy.stats.linregress(times, sample)
    half = scipy.stats.t.ppf(0.975, count - 2) * known.stderr
    assert found.mean == pytest.approx(known.slope, abs=1e-6)
    assert found.low == pytest.approx(known.slope - half, abs=1e-6)
    assert found.high == pytest.approx(known.slope + half, abs=1e-6)


def test_slope_of_a_growing_and_of_a_calm_backlog():
    times = np.arange(0, 20, 0.1)
    noise = np.random.default_rng(1).normal(0, 20, len(times))
    growing = metrics.slope(times, 100 * times + noise)
    assert growing.low < 100 < growing.high
    assert growing.n == metrics.BLOCKS
    assert metrics.grows(growing)
    assert not metrics.grows(metrics.slope(times, noise))
    with pytest.raises(ValueError, match="3 values"):
        metrics.slope(times[:2], noise[:2])


def test_a_drift_is_significant_and_large():
    noise = np.random.default_rng(1).normal(0, 1, 20)
    assert metrics.trend(100 + np.arange(20.0)).mean == pytest.approx(19 / 109.5)
    assert metrics.drifts(metrics.trend(100 + np.arange(20) + noise))
    assert metrics.drifts(metrics.trend(100 - np.arange(20) + noise))
    assert not metrics.drifts(metrics.trend(100 + 0.1 * np.arange(20)))  # 2 %
    assert not metrics.drifts(metrics.trend(100 + 20 * noise))


def test_batch_means_do_not_call_a_wandering_queue_a_growing_one():
    """Neighbours in a queue are alike; least squares on every value would find growth in most of these."""
    false_alarms = 0
    for seed in range(100):
        steps = np.random.default_rng(seed).normal(0, 1, 1000)
        queue = np.zeros(1000)
        for index in range(1, 1000):
            queue[index] = 0.9 * queue[index - 1] + steps[index]
        false_alarms += metrics.grows(metrics.slope(np.arange(1000) * 0.1, queue))
    assert false_alarms <= 10


def test_backlog_counts_what_is_appended_and_not_answered():
    appended, answered = np.array([10, 20, 30]), np.array([25, 45])
    assert metrics.backlog(appended, answered, np.array([5, 10, 20, 25, 30, 50])).tolist() == [0, 1, 2, 1, 2, 1]


def burst(recovers_after_s: float, until_s: float = 90.0) -> float | None:
    """Latency 5 ms, and 500 ms from a burst's start at 40 s to `recovers_after_s` after its end at 60 s."""
    due = np.arange(0, 100, 0.01)
    latency = np.where((due >= 40) & (due < 60 + recovers_after_s), 500.0, 5.0)
    return metrics.recovery_time(due, latency, 40.0, 60.0, until_s)


@given(st.integers(0, 25))
def test_recovery_is_the_first_of_five_calm_seconds(seconds):
    assert burst(seconds) == seconds


def test_recovery_uses_the_windows_median_and_never_goes_past_the_end():
    assert burst(3.4) == 3.0  # more than half of the fourth second is calm
    assert burst(3.6) == 4.0
    assert burst(0, until_s=64.9) is None
    assert burst(26) is None


def test_recovery_needs_something_before_and_an_unbroken_calm():
    due = np.arange(0, 100, 0.01)
    assert metrics.recovery_time(due[due > 50], np.ones((due > 50).sum()), 40.0, 60.0, 90.0) is None
    latency = np.where((due >= 40) & (due < 60), 500.0, 5.0)
    latency[(due >= 63) & (due < 64)] = 500.0
    assert metrics.recovery_time(due, latency, 40.0, 60.0, 90.0) == 4.0
    silent = (due < 60) | (due >= 62)
    calm = np.full(silent.sum(), 5.0)
    assert metrics.recovery_time(due[silent], calm, 40.0, 60.0, 90.0) == 2.0
