"""Which combinations Flink refuses, and what `auto` stands for: pure, no engine is started."""

import pytest

from crayfish.processors import flink
from crayfish.processors.flink.cluster import slots
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import RunSpec, Segment


def spec_of(**fields: object) -> RunSpec:
    return RunSpec(**{"processor": "flink", "scorer": "onnx", "segments": (Segment("constant", rate=1.0),), **fields})


@pytest.mark.parametrize(
    ("fields", "means"),
    [
        ({}, "thread"),
        ({"execution": "process"}, "process"),
        ({"scoring": "vectorised"}, "process"),
        ({"scoring": "vectorised", "engine_batch_max": 8}, "thread"),
        ({"scoring": "vectorised", "engine_batch_max": 8, "parallelism_model": "task"}, "process"),
        ({"parallelism_model": "task"}, "process"),
        ({"scorer": "dl4j"}, "process"),
        ({"scorer": "torchserve", "async_calls": 16}, "process"),
        ({"scorer": "torchserve"}, "thread"),
    ],
)
def test_what_auto_stands_for(fields, means):
    assert flink.execution(spec_of(**fields)) == means


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"scoring": "vectorised", "execution": "thread"}, "execution 'process'"),
        ({"parallelism_model": "task", "execution": "thread"}, "execution 'process'"),
        ({"scorer": "dl4j", "execution": "thread"}, "dl4j cannot live"),
        ({"scorer": "torchserve", "async_calls": 16, "execution": "thread"}, "asynchronous"),
        ({"scoring": "vectorised", "parallelism_model": "task"}, "set engine_batch_max"),
        ({"transport": "in_engine", "delivery": "exactly_once"}, "promise of the Kafka sink"),
        ({"scoring": "vectorised", "scorer": "torchserve", "async_calls": 16}, "one call for all the events"),
    ],
)
def test_what_flink_refuses(fields, told):
    with pytest.raises(CrayfishError, match=told):
        spec_of(**fields)


def test_slots_follow_the_parallelism_model():
    assert slots(spec_of(parallelism=2)) == (2, 1)
    assert slots(spec_of(parallelism=2, parallelism_model="task")) == (1, 8)
