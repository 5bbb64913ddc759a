"""Rounds go on until every headline interval is narrow enough: widths decide, and only runs that need it go on."""

import os
import subprocess

import pytest
from conftest import ROOT
from test_plan import changed

from crayfish.results import rounds
from crayfish.spec import paths, plan
from crayfish.spec.errors import CrayfishError

WIDE, NARROW = (60_000.0, 70_000.0, 110_000.0), (60_000.0, 61_000.0, 59_500.0)


def summaries(run: str, values: tuple[float | None, ...], kind: str = "backlog") -> list[dict]:
    """Of one run, whose repetitions had these values of its headline metric."""
    found = []
    for value in values:
        latency = {} if kind != "constant" or value is None else {"received_minus_due": {"p50": value}}
        segment = {"load": {"kind": kind}, "throughput": {"events_per_s": value}, "latency_ms": latency}
        found.append({"run": run, "segments": [{**segment, "sustainable_events_per_s": value}]})
    return found


@pytest.mark.parametrize("kind", ["backlog", "search", "constant"])
def test_a_run_goes_on_while_its_interval_is_too_wide(kind):
    both = [*summaries("wide", WIDE, kind), *summaries("narrow", NARROW, kind)]
    assert rounds.too_wide(both, 0.1) == ["wide"]
    assert rounds.too_wide(both, 2.0) == []
    assert rounds.too_wide(both, 0.001) == ["narrow", "wide"]


def test_who_is_ahead_plays_no_part():
    alone = rounds.too_wide(summaries("b", WIDE), 0.1)
    for factor in (0.01, 1.0, 100.0):
        others = summaries("a", tuple(factor * value for value in NARROW))
        assert rounds.too_wide([*others, *summaries("b", WIDE)], 0.1) == alone == ["b"]


def test_every_segment_counts():
    first, second = summaries("run", NARROW, "constant"), summaries("run", WIDE, "constant")
    both = [
        {"run": "run", "segments": one["segments"] + two["segments"]} for one, two in zip(first, second, strict=True)
    ]
    assert rounds.too_wide(both, 0.1) == ["run"]


def test_the_others_tell_of_the_spread_but_a_noisy_one_keeps_its_own():
    alike = {name: tuple(level * value for value in (1.0, 1.03, 0.98)) for level, name in enumerate("abcd", start=1)}
    of_all = [one for name, values in alike.items() for one in summaries(name, values)]
    assert rounds.too_wide(summaries("a", alike["a"]), 0.04) == ["a"]
    assert rounds.too_wide(of_all, 0.04) == []
    assert rounds.too_wide([*of_all, *summaries("noisy", WIDE)], 0.04) == ["noisy"]


def test_of_a_later_round_only_those_that_were_in_it_are_judged():
    both = [*summaries("early", WIDE), *summaries("late", (*WIDE, 65_000.0))]
    assert rounds.too_wide(both, 0.1) == ["late"]


def test_a_repetition_that_failed_does_not_count_and_a_run_that_always_fails_does_not_go_on():
    assert rounds.too_wide(summaries("run", (*NARROW, None)), 0.1) == []
    assert rounds.too_wide(summaries("run", (60_000.0, None, None)), 0.1) == ["run"]
    assert rounds.too_wide(summaries("run", (None, None, None)), 0.1) == []


def made(needing: dict[int, set[int]], **changes: object) -> list[int]:
    """How often each run of an experiment is made, by its number; needing: round -> the runs that need another."""
    planned = plan.make_plan(changed(**{"precision": 0.1, "at_most": 6, **changes}))
    runs = planned.experiments["input_rate"].runs
    asked = []

    def read(experiment: str, number: int) -> list[str]:
        asked.append(number)
        return [runs[place] for place in needing.get(number, ())]

    counts = planned.made("input_rate", read)
    assert asked == sorted(asked) and all(number < planned.at_most for number in asked)
    assert all(planned.repetitions(run) <= count <= planned.most(run) for run, count in counts.items())
    return list(counts.values())[:3]


def test_only_runs_that_still_need_it_are_made():
    assert made({}) == [3, 3, 3]
    assert made({3: {0, 1}, 4: {1}, 5: {1}}) == [4, 6, 3]
    assert made({3: {0}}, repetitions=4) == [4, 4, 4]
    assert made({4: {0}}, repetitions=4) == [5, 4, 4]
    assert made({}, repetitions=1) == [3, 3, 3]


def test_without_a_precision_nothing_is_judged():
    assert made({3: {0}}, precision=None, repetitions=2) == [2, 2, 2]


def test_what_a_round_judges_is_known_from_the_rounds_before_it():
    planned = plan.make_plan(changed(precision=0.1, at_most=6))
    runs = planned.experiments["input_rate"].runs
    counts = planned.made("input_rate", lambda experiment, number: {3: runs[:1]}[number], before=4)
    assert [run for run, count in counts.items() if count == 4] == [runs[0]]
    assert paths.judgement("results", "input_rate", 4) == "results/rounds/input_rate/4.json"


def test_the_estimate_says_at_least_and_at_most():
    told = plan.make_plan(changed(precision=0.1, at_most=6)).estimate([])[-1]
    assert "at least about" in told and "at most" in told and " to " in told
    assert "at least" not in plan.make_plan(changed()).estimate([])[-1]


def test_numbers_of_runs_reach_to_the_last_round():
    planned = plan.make_plan(changed(precision=0.1, at_most=6))
    (run, *_) = planned.experiments_of(planned.drawn) and planned.experiments[planned.drawn_experiments[0]].runs
    assert (run, 6) in planned.numbered_jobs([]) and (run, 7) not in planned.numbered_jobs([])


def test_fewer_rounds_at_most_than_at_least_are_refused():
    with pytest.raises(CrayfishError, match="at_most: 2 must be at least 3"):
        plan.make_plan(changed(precision=0.1, at_most=2))
    with pytest.raises(CrayfishError, match="at_most: 4 must be at least 5"):
        plan.make_plan(changed(precision=0.1, at_most=4, repetitions=5))
    with pytest.raises(CrayfishError, match="precision: 0 must be more than 0"):
        plan.make_plan(changed(precision=0))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["PRECISION=0.1"], "--config precision=0.1 "),
        (["PRECISION=0.1", "AT_MOST=5", "ARGS=-n"], "--config precision=0.1 at_most=5 -n"),
        (["PRECISION=0.1", "ARGS=-n --config seed=2"], "-n --config precision=0.1 seed=2"),
        (["ARGS=-n --config seed=2"], "-n --config seed=2"),
    ],
    ids=["alone", "at_most", "with --config", "without"],
)
def test_make_hands_the_precision_on(given, told):
    mine = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "ARGS")}  # of make check
    command = ["make", "-n", "figures", *given]
    done = subprocess.run(command, cwd=ROOT, env=mine, capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("snakemake")]
    assert f"{line} ".rstrip().endswith(told.rstrip()) and line.count("--config ") == ("--config" in told)
