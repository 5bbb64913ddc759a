"""The sample of the contract suite holds what it promises."""

from collections import Counter
from pathlib import Path

import sampling

from crayfish.spec import discovery
from crayfish.spec.run_spec import RunSpec, Segment

LOADS = (Segment("constant", rate=1.0),)


def test_the_sample_has_every_processor_twice_every_scorer_and_every_style_in_each_processor():
    runs = sampling.pairs(everything=False)
    counts = Counter(run["processor"] for run in runs)
    assert set(counts) == set(sampling.PROCESSORS) and min(counts.values()) >= 2
    assert {run["scorer"] for run in runs} == set(sampling.SCORERS)
    for processor in sampling.PROCESSORS:
        sampled = runs + sampling.variants(everything=False) + sampling.backlogs(everything=False)
        own = [run for run in sampled if run["processor"] == processor]
        assert {run.get("scoring") for run in own} == {None, "vectorised"}
        assert {run.get("codec") for run in own} == {None, "json"}
        assert {run.get("parallelism") for run in own} == {None, 2}


def test_all_holds_every_pair():
    runs = sampling.pairs(everything=True)
    every = {(processor, scorer) for processor in sampling.PROCESSORS for scorer in sampling.SCORERS}
    assert {(run["processor"], run["scorer"]) for run in runs} == every


def test_every_run_that_is_named_can_be_planned():
    for runs in (sampling.pairs(True), sampling.variants(True), sampling.backlogs(True), sampling.models()):
        for run in runs:
            RunSpec(**run, segments=LOADS)
    for load in sampling.loads():
        Segment(**load)


def test_every_part_of_every_room_is_in_a_run():
    assert {run["model"] for run in sampling.models()} | {"ffnn"} == set(discovery.names("models"))
    assert {run["processor"] for run in sampling.variants(False)} >= set(sampling.FLOORS)
    in_time = {load["kind"] for load in sampling.loads()}
    others = {name for name in discovery.names("harness/loads") if not discovery.load(name).alone} - in_time
    assert all(Path(__file__).with_name(f"test_{name}.py").exists() for name in others), others
