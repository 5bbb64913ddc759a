"""The one wait, and the one lock."""

import os
import pwd
import subprocess
import sys
import time
import uuid

import psutil
import pytest

from crayfish.engine.child import SCRIPTS
from crayfish.spec.errors import CrayfishError
from crayfish.spec.locks import lock
from crayfish.spec.waiting import Deadline, wait_until

HOLDER = """
import sys, time
from crayfish.spec.locks import lock
lock(sys.argv[1], 0, str)
print("held", flush=True)
time.sleep(60)
"""


def test_what_the_condition_returned_is_returned():
    answers = iter([0, None, "", 7, 8])
    assert wait_until(lambda: next(answers), 60, pause_s=0) == 7


def test_a_condition_that_holds_is_asked_once_even_without_time():
    assert wait_until(lambda: True, 0, lambda: AssertionError(), lambda: pytest.fail("it was watched"))


def test_after_the_deadline_the_error_is_raised():
    tries = []
    with pytest.raises(CrayfishError, match=r"in vain after \d+"):
        wait_until(lambda: tries.append(1), 0.05, lambda: CrayfishError(f"in vain after {len(tries)}"), pause_s=0.001)
    assert len(tries) > 1


def test_without_an_error_the_last_answer_is_returned():
    assert wait_until(lambda: [], 0, pause_s=0) == []


def test_the_watch_ends_a_wait_that_has_become_useless():
    def watch() -> None:
        raise CrayfishError("it died")

    with pytest.raises(CrayfishError, match="it died"):
        wait_until(lambda: False, 60, lambda: AssertionError(), watch)


def test_progress_extends_a_deadline():
    deadline, answers = Deadline(0.0), iter([False] * 5 + [True])

    def progressing() -> bool:
        deadline.extend(60)
        return next(answers)

    assert wait_until(progressing, deadline, lambda: AssertionError("too early"), pause_s=0.001)
    assert not deadline.passed


@pytest.fixture
def held():
    """A name that another process holds; that process."""
    name = uuid.uuid4().hex
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    command = [sys.executable, "-c", HOLDER, name]
    holder = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    yield name, holder
    holder.kill()
    holder.communicate()


def test_a_lock_that_another_process_holds_is_refused_with_its_name(held):
    name, holder = held
    user = pwd.getpwuid(os.getuid()).pw_name
    descriptors = psutil.Process().num_fds()
    with pytest.raises(CrayfishError, match=f"^held by process {holder.pid} of {user}$"):
        lock(name, 0.2, lambda who: f"held by {who}")
    assert psutil.Process().num_fds() == descriptors


def test_a_lock_is_free_when_its_holder_was_killed(held):
    name, holder = held
    holder.kill()
    os.close(lock(name, 60, lambda who: f"held by {who}"))


def test_a_lock_that_is_closed_can_be_taken_again():
    began = time.monotonic()
    for _ in range(2):
        os.close(lock("crayfish-test-again", 60, str))
    assert time.monotonic() - began < 60
