"""Child processes are watched until they end or are to be stopped, and none outlives its watcher."""

import subprocess
import sys
import threading

import psutil
import pytest

from crayfish.engine import child
from crayfish.spec.errors import CrayfishError

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]
IGNORES_SIGTERM = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)",
]


def watched(children: list[subprocess.Popen], stop: threading.Event, ready) -> None:
    child.watch(
        children,
        stop,
        is_ready=lambda: True,
        ready=ready,
        ended=lambda number, status, starting: f"number {number} ended with {status}, {starting=}",
        every_s=(0.01, 0.01),
        deadline_s=30,
    )


def test_children_are_stopped_when_they_are_to_be_and_are_ready_once():
    stop, calls = threading.Event(), []

    def ready() -> None:
        calls.append("ready")
        threading.Timer(0.1, stop.set).start()

    children = [child.start(SLEEPS) for _ in range(2)]
    watched(children, stop, ready)
    assert calls == ["ready"]
    assert all(each.returncode is not None for each in children)


@pytest.mark.parametrize("starting", [True, False])
def test_the_end_of_one_ends_all_with_an_error(starting):
    sleeping, ending = (
        child.start(SLEEPS),
        child.start([sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(7)"], stdin=-1),
    )

    def end() -> None:
        ending.stdin.close()
        ending.wait()

    if starting:
        end()
    with pytest.raises(CrayfishError, match=f"number 1 ended with 7, starting={starting}"):
        watched([sleeping, ending], threading.Event(), end)
    assert sleeping.returncode is not None


def test_a_child_that_ignores_sigterm_is_killed():
    stubborn = child.start(IGNORES_SIGTERM, stdout=subprocess.PIPE)
    stubborn.stdout.readline()
    assert not child.stop([stubborn], deadline_s=0.1)
    assert stubborn.returncode == -9


def test_a_child_ends_with_its_parent():
    program = f"from crayfish.engine import child; print(child.start({SLEEPS!r}).pid, flush=True); input()"
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(child.SCRIPTS)},
    )
    started = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    assert psutil.wait_procs([started], timeout=30)[1] == []
