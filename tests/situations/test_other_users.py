"""Other users of the machine, and users whom it does not know."""

import os
import uuid
from collections.abc import Callable

import pytest

from crayfish.spec import surroundings
from crayfish.spec.errors import CrayfishError
from crayfish.spec.locks import lock
from crayfish.spec.run_spec import RunSpec, Segment

NOBODY, UNKNOWN = 65534, 54321  # user numbers: with a name everywhere, and with none
root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")


def as_user(number: int, act: Callable[[], str]) -> str:
    """What a function of another user's process returns."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.setuid(number)
            os.write(write, act().encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as said:
        told = said.read()
    os.waitpid(child, 0)
    return told


@root
def test_a_second_user_is_told_who_measures_and_can_measure_after_that(tmp_path, monkeypatch):
    name = uuid.uuid4().hex

    def tried() -> str:
        os.environ["TMPDIR"] = "/somewhere/else"
        try:
            os.close(lock(name, 0.1, lambda holder: f"held by {holder}"))
        except CrayfishError as error:
            return str(error)
        return "free"

    held = lock(name, 0.1, str)
    assert as_user(NOBODY, tried) == f"held by process {os.getpid()} of root"
    os.close(held)
    assert as_user(NOBODY, tried) == "free"
    os.close(lock(name, 0.1, str))


@root
@pytest.mark.parametrize(("processor", "refused"), [("spark", True), ("kafka_streams", False)])
def test_a_user_without_a_name_is_refused_by_what_asks_for_it(processor, refused):
    spec = RunSpec(processor, "onnx", (Segment("constant", rate=1.0),))
    told = as_user(UNKNOWN, lambda: "\n".join(surroundings.faults([spec])))
    assert ("echo me:x:54321:" in told and "/etc/passwd" in told) == refused
