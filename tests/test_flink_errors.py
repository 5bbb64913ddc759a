"""What a user reads of a failed Flink job, and which combinations Flink refuses: pure, no engine is started."""

import pytest

from crayfish.processors import flink
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import RunSpec, Segment

JAVA = """org.apache.flink.runtime.JobException: Recovery is suppressed by NoRestartBackoffTimeStrategy
\tat org.apache.flink.runtime.Some.method(Some.java:1)
Caused by: java.io.IOException: outer
\tat a.B.c(B.java:2)
\t... 3 more
Caused by: pemja.core.PythonException: <class 'crayfish.spec.errors.CrayfishError'>: onnx: cannot be loaded
\tat d.E.f(E.java:3)
"""
PYTHON = """java.lang.RuntimeException: Failed to close remote bundle
\tat a.B.c(B.java:2)
Caused by: java.lang.RuntimeException: Error from SDK harness for instruction 1: Traceback (most recent call last):
  File "worker.py", line 1, in execute
    self.open()
crayfish.spec.errors.CrayfishError: onnx: cannot be loaded

\tat d.E.f(E.java:3)
"""


def spec_of(**fields: object) -> RunSpec:
    return RunSpec(**{"processor": "flink", "scorer": "onnx", "segments": (Segment("constant", rate=1.0),), **fields})


@pytest.mark.parametrize(
    ("trace", "cause"),
    [
        (JAVA, "pemja.core.PythonException: <class 'crayfish.spec.errors.CrayfishError'>: onnx: cannot be loaded"),
        (PYTHON, "crayfish.spec.errors.CrayfishError: onnx: cannot be loaded"),
        ("java.lang.Error: alone\n\tat a.B.c(B.java:2)\n", "java.lang.Error: alone"),
    ],
)
def test_root_cause_is_the_innermost(trace, cause):
    assert flink.root_cause(trace) == cause


@pytest.mark.parametrize(
    ("fields", "means"),
    [
        ({}, "thread"),
        ({"execution": "process"}, "process"),
        ({"scoring": "vectorised"}, "process"),
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
        ({"scoring": "vectorised", "parallelism_model": "task"}, "scoring 'per_event'"),
        ({"transport": "in_engine", "delivery": "exactly_once"}, "promise of the Kafka sink"),
        ({"scoring": "vectorised", "scorer": "torchserve", "async_calls": 16}, "one call for all the events"),
    ],
)
def test_what_flink_refuses(fields, told):
    with pytest.raises(CrayfishError, match=told):
        spec_of(**fields)


def test_slots_follow_the_parallelism_model():
    assert flink.slots(spec_of(parallelism=2)) == (2, 1)
    assert flink.slots(spec_of(parallelism=2, parallelism_model="task")) == (1, 8)
