"""Ranking: the blocked model against scipy's own tests, and how often it tells apart what is equal or truly differs."""

import numpy as np
import polars as pl
import pytest
import scipy.stats

from crayfish.results import captions, ranking
from crayfish.results.ranking import Ranking, Value

THROUGHPUT = "throughput_events_per_s"


def simulated(
    random: np.random.Generator, means: dict[str, float], rounds: int = 4, noise: float = 0.04, speed: float = 0.0
) -> dict[str, list[Value]]:
    """Repetitions of systems of these means: a drift from round to round, noise, and the machine's speed."""
    drift = random.normal(0, 0.2, rounds)
    found: dict[str, list[Value]] = {name: [] for name in means}
    for number in range(rounds):
        for position, name in enumerate(random.permutation(list(means)), start=1):
            fast = random.normal(0, 0.15)
            value = means[name] * np.exp(drift[number] + random.normal(0, noise) + speed * fast)
            found[name].append(Value(number + 1, float(value), position, float(np.exp(fast))))
    return found


def panel(values: dict[str, list[Value]], **how) -> ranking.Panel:
    return ranking.compared(values, how.get("twins", {}), how.get("higher", True), how.get("plain", False), ())


def test_two_systems_are_compared_by_the_paired_t_test_of_their_logarithms():
    values = simulated(np.random.default_rng(1), {"slow": 100.0, "fast": 150.0})
    (pair,) = panel(values).pairs
    logs = [np.log([value.value for value in values[name]]) for name in ("fast", "slow")]
    known = scipy.stats.ttest_rel(*logs).confidence_interval(0.95)
    assert (pair.first, pair.second) == ("fast", "slow")
    assert (pair.low, pair.high) == pytest.approx((np.exp(known.low), np.exp(known.high)), rel=1e-6)
    assert pair.detectable == pytest.approx(pair.ratio / pair.low)


@pytest.mark.parametrize(("systems", "freedom"), [(3, 4), (5, 8)])
def test_the_factor_is_that_of_tukey(systems, freedom):
    known = scipy.stats.studentized_range.ppf(0.95, systems, freedom) / np.sqrt(2)
    assert ranking.tukey(systems, freedom) == pytest.approx(known, abs=2e-3)


def test_a_drift_from_round_to_round_hides_no_difference():
    """As overlapping intervals did: rounds differ by 20 %, the systems by 30 %, the noise is 2 %."""
    found = panel(simulated(np.random.default_rng(2), {"a": 100.0, "b": 130.0, "c": 169.0}, noise=0.02))
    assert found.order == ("c", "b", "a") and all(pair.told for pair in found.ranked)
    for pair in found.ranked:
        assert pair.low < {"c": 169, "b": 130}[pair.first] / {"a": 100, "b": 130}[pair.second] < pair.high


def test_equal_systems_are_rarely_ranked_and_what_differs_by_30_percent_mostly():
    random = np.random.default_rng(3)
    equal = [panel(simulated(random, dict.fromkeys("abcd", 100.0))) for _ in range(100)]
    assert sum(any(pair.told for pair in each.ranked) for each in equal) <= 12  # 5 are expected
    differing = [panel(simulated(random, {"a": 100.0, "b": 130.0, "c": 100.0})) for _ in range(40)]
    told = [pair.told for each in differing for pair in each.ranked if "b" in (pair.first, pair.second)]
    assert np.mean(told) > 0.9


def test_a_noisy_system_is_not_ranked_by_the_others_variance():
    random, wrong, told = np.random.default_rng(4), 0, 0
    for _ in range(60):
        values = simulated(random, dict.fromkeys("abc", 100.0), rounds=5, noise=0.01)
        values |= {name: simulated(random, {name: 100.0}, rounds=5, noise=0.3)[name] for name in "xy"}
        found = panel(values)
        told += found.unequal
        wrong += any(pair.told for pair in found.ranked if {pair.first, pair.second} == {"x", "y"})
    assert told > 40 and wrong <= 9


def test_twins_are_compared_with_each_other_alone():
    random = np.random.default_rng(5)
    told = 0
    for _ in range(100):
        values = simulated(random, {"a": 100.0, "b": 150.0, "a (again)": 100.0})
        found = panel(values, twins={"a (again)": "a"})
        assert found.order == ("b", "a")
        assert {(pair.first, pair.second) for pair in found.ranked} == {("b", "a")}
        (pair,) = found.twins
        told += pair.told
    assert told <= 12


def test_a_metric_of_which_less_is_better():
    found = panel(simulated(np.random.default_rng(6), {"slow": 200.0, "fast": 100.0}), higher=False)
    assert found.order == ("fast", "slow") and found.pairs[0].told and found.pairs[0].ratio == pytest.approx(2, rel=0.1)


def test_a_metric_with_zeros_is_compared_by_differences():
    values = {"a": [Value(number, 0.0) for number in (1, 2, 3)], "b": [Value(1, 4.0), Value(2, 5.0), Value(3, 6.0)]}
    (pair,) = panel(values, higher=False, plain=True).pairs
    assert (pair.first, pair.ratio, pair.plain, pair.told) == ("a", pytest.approx(5), True, True)
    assert captions.by_words(pair, "recovery_s").endswith(" s")


def test_missing_repetitions_leave_a_ranking_and_one_repetition_none():
    values = simulated(np.random.default_rng(7), {"a": 100.0, "b": 200.0, "c": 400.0})
    del values["a"][1], values["c"][3]
    assert all(pair.told for pair in panel(values).ranked)
    once = panel({name: found[:1] for name, found in values.items()})
    assert [(pair.told, pair.low, pair.detectable) for pair in once.pairs] == [(False, None, None)] * 3
    assert "too few repetitions to rank" in captions.verdicts(once, THROUGHPUT)
    apart = {"a": values["a"][:1] * 1, "b": values["b"][1:]}
    apart["a"] = [Value(9, 100.0)]  # in a round of its own: nothing tells system from round
    assert panel(apart).pairs[0].low is None


def test_the_machines_speed_is_a_covariate_where_it_explains_something():
    random = np.random.default_rng(8)
    means = {"a": 100.0, "b": 110.0, "c": 120.0}
    helped = [panel(simulated(random, means, rounds=6, noise=0.02, speed=1.0)) for _ in range(20)]
    assert sum(each.speed for each in helped) > 16
    useless = [panel(simulated(random, means, rounds=6)) for _ in range(60)]
    assert sum(each.speed for each in useless) <= 9  # 5 % are expected
    values = simulated(random, means, rounds=6, noise=0.02, speed=1.0)
    without = {name: [each._replace(speed=None) for each in found] for name, found in values.items()}
    assert not panel(without).speed
    assert panel(values).pairs[0].detectable < panel(without).pairs[0].detectable


def test_an_effect_of_the_position_is_found_and_told():
    values = simulated(np.random.default_rng(9), {"a": 100.0, "b": 110.0, "c": 120.0}, rounds=6, noise=0.01)
    warm = {
        name: [each._replace(value=each.value * 1.2**each.position) for each in found] for name, found in values.items()
    }
    assert panel(warm).position_p < 0.001 < panel(values).position_p
    told = " ".join(captions.ranking_in_words(Ranking(THROUGHPUT, (), (panel(warm),))))
    assert "Warning: the position of a run within its round had an effect: p = " in told


def test_a_caption_says_who_is_ahead_by_how_much_and_what_could_have_been_told():
    random = np.random.default_rng(10)
    values = simulated(random, {"a": 100.0, "b": 150.0, "c": 150.0, "a (again)": 100.0}, noise=0.01)
    found = ranking.compared(values, {"a (again)": "a"}, True, False, (2,))
    method, noise, *_ = captions.ranking_in_words(Ranking(THROUGHPUT, ("parallelism",), (found,)))
    assert "Ranking by throughput (events/s), more is better (4 rounds;" in method and ": parallelism 2: " in method
    assert "ahead of a by 1." in method and "not told apart: " in method
    assert "(a difference of 1." in method and "could have been told)" in method
    many = ranking.compared(simulated(random, dict.fromkeys("abcdefg", 100.0), noise=0.01), {}, True, False, (2,))
    method, *_ = captions.ranking_in_words(Ranking(THROUGHPUT, ("parallelism",), (many,)))
    assert "not told apart: 21 of 21 pairs, see the table of the ranking (a difference of 1." in method
    assert noise.startswith("The same system twice (A/A), which is noise: parallelism 2: 1.") and "Warning" not in noise
    changed = [each._replace(value=each.value * 1.5) for each in values["a (again)"]]
    wrong = ranking.compared(values | {"a (again)": changed}, {"a (again)": "a"}, True, False, (2,))
    told = captions.ranking_in_words(Ranking(THROUGHPUT, ("parallelism",), (wrong,)))
    assert "Warning: the twins were told apart (parallelism 2)" in told[1]


def rows_of(values: dict[str, list[Value]], **fields: dict[str, object]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Means and repetitions of systems, each a processor that this checkout need not have, or with other fields."""
    each = [
        {"experiment": "e", "processor": name, "scorer": "noop", "twin": 0}
        | fields.get(name, {})
        | {"segment": 1, "repetition": value.round, "round": value.round, "position": value.position}
        | {THROUGHPUT: value.value, "warnings": "", "substitutes": "", "machine": "m", "run": name}
        for name, found in values.items()
        for value in found
    ]
    runs = pl.DataFrame(each)
    means = runs.group_by("run", maintain_order=True).agg(pl.all().first(), pl.len().alias("repetitions"))
    order = ["experiment", "processor", "scorer", "twin", "segment", "repetitions", THROUGHPUT]
    return means.select(*order, "warnings", "substitutes", "machine", "run"), runs


def test_a_table_ranks_its_systems_without_floor_and_with_its_twin_apart():
    values = simulated(np.random.default_rng(11), {"a": 100.0, "b": 150.0, "again": 100.0, "floor": 900.0})
    fields = {"again": {"processor": "a", "twin": 1}, "floor": {"processor": "relay"}}
    found = ranking.rank(*rows_of(values, **fields), ("parallelism",), THROUGHPUT)
    (one,) = found.panels
    assert [(pair.first, pair.second) for pair in one.ranked] == [("b, no-op", "a, no-op")]
    assert {one.twins[0].first, one.twins[0].second} == {"a, no-op", "a, no-op (again)"}
    table = ranking.as_table([found])
    assert table["verdict"].to_list() == ["ahead", "not told apart (twins)"]
    first, second = ({"run": name, "segment": 1} for name in ("b", "a"))
    assert found.relative(first, second).mean == pytest.approx(1 / found.relative(second, first).mean)
    assert ranking.as_table([]).columns[:4] == ["metric", "first", "second", "verdict"]
