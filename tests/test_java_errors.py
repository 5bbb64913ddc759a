"""What a user reads of a failure in Java, whichever library passes it on: pure, no JVM is started."""

from __future__ import annotations

import pytest

from crayfish.engine import jvm

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
WORKER = """org.apache.spark.api.python.PythonException: Traceback (most recent call last):
  File "worker.py", line 1, in main
    process()
crayfish.spec.errors.CrayfishError: onnx: the model cannot be loaded:
it is empty
 SQLSTATE: 38000"""


OWN = "crayfish.spec.errors.CrayfishError"


class Throwable:
    """A Java exception as JPype and py4j show it."""

    def __init__(self, name: str, message: str | None, cause: Throwable | None = None):
        self._name, self._message, self._cause = name, message, cause

    def getClass(self) -> Throwable:
        return self

    def getSimpleName(self) -> str:
        return self._name.rpartition(".")[2]

    def getMessage(self) -> str | None:
        return self._message

    def getCause(self) -> Throwable | None:
        return self._cause

    def toString(self) -> str:
        return f"{self._name}: {self._message}"


@pytest.mark.parametrize(
    ("trace", "cause"),
    [
        (JAVA, "onnx: cannot be loaded"),
        (PYTHON, "onnx: cannot be loaded"),
        ("java.lang.Error: alone\n\tat a.B.c(B.java:2)\n", "java.lang.Error: alone"),
        (
            JAVA.replace("crayfish.spec.errors.CrayfishError", "ValueError"),
            "pemja.core.PythonException: <class 'ValueError'>: onnx: cannot be loaded",
        ),
    ],
)
def test_a_stack_trace_s_root_cause_is_the_innermost(trace, cause):
    assert jvm.root_cause(trace) == cause


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (WORKER, "onnx: the model cannot be loaded:\nit is empty"),
        (
            WORKER.replace("crayfish.spec.errors.CrayfishError", "ValueError"),
            "ValueError: onnx: the model cannot be loaded:\nit is empty",
        ),
        (WORKER.replace("it is empty", "  it is empty"), "onnx: the model cannot be loaded:\n  it is empty"),
        ("Connection refused", "a.B: Connection refused"),
    ],
)
def test_of_a_python_worker_s_failure_its_own_words_are_left(message, told):
    name = "a.B" if "Traceback" not in message else "org.apache.spark.SparkException"
    assert jvm.innermost(Throwable("a.Outer", "outer", Throwable(name, message))) == told


def test_an_exception_and_its_causes_are_one_line():
    error = Throwable("a.Outer", "what\n  happened", Throwable("b.Inner", None))
    assert jvm.reason(error) == "Outer: what happened; because of Inner: None"
