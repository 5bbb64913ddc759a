"""What a user reads of a failed Flink job, and which combinations Flink refuses: pure, no engine is started."""

from types import SimpleNamespace

import pytest

from crayfish.processors import flink

JAVA = """org.apache.flink.runtime.JobException: Recovery is suppressed by NoRestartBackoffTimeStrategy
\tat org.apache.flink.runtime.Some.method(Some.java:1)
Caused by: java.io.IOException: outer
\tat a.B.c(B.java:2)
\t... 3 more
Caused by: pemja.core.PythonException: <class 'crayfish.errors.CrayfishError'>: onnx: cannot be loaded
\tat d.E.f(E.java:3)
"""
PYTHON = """java.lang.RuntimeException: Failed to close remote bundle
\tat a.B.c(B.java:2)
Caused by: java.lang.RuntimeException: Error from SDK harness for instruction 1: Traceback (most recent call last):
  File "worker.py", line 1, in execute
    self.open()
crayfish.errors.CrayfishError: onnx: cannot be loaded

\tat d.E.f(E.java:3)
"""


@pytest.mark.parametrize(
    ("trace", "cause"),
    [
        (JAVA, "pemja.core.PythonException: <class 'crayfish.errors.CrayfishError'>: onnx: cannot be loaded"),
        (PYTHON, "crayfish.errors.CrayfishError: onnx: cannot be loaded"),
        ("java.lang.Error: alone\n\tat a.B.c(B.java:2)\n", "java.lang.Error: alone"),
    ],
)
def test_root_cause_is_the_innermost(trace, cause):
    assert flink.root_cause(trace) == cause


@pytest.mark.parametrize(
    ("scoring", "execution", "means"),
    [
        ("per_event", "auto", "thread"),
        ("per_event", "process", "process"),
        ("vectorised", "auto", "process"),
        ("vectorised", "thread", None),
    ],
)
def test_execution_and_refusal(scoring, execution, means):
    spec = SimpleNamespace(scoring=scoring, execution=execution)
    assert (flink.refuse(spec) is None) == (means is not None)
    if means:
        assert flink.execution(spec) == means
