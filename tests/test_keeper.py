"""The broker that lives from run to run: one for all runs of an owner, and gone when the owner or its keeper is."""

import subprocess
import sys
import time

import psutil
import pytest

from crayfish.engine import jvm
from crayfish.harness import keeper, warming
from crayfish.harness.stages import StageFailed
from crayfish.spec.errors import CrayfishError
from crayfish.spec.waiting import wait_until

GONE_S = 30.0
WARMUP_S = 3.0  # what is tested is how a broker lives


@pytest.mark.parametrize(
    ("costs", "steady"),
    [
        ([], False),
        ([900, 500, 400], False),  # nothing to compare with
        ([900, 500, 400, 300], False),  # still falling
        ([400, 390, 410, 395], True),
        ([900, 400, 390, 410, 395], True),
        ([400, 395, 405, 370], False),  # the newest block gains
    ],
)
def test_a_broker_is_warm_when_its_cost_no_longer_falls(costs, steady):
    assert warming.steady(costs) == steady


@pytest.fixture
def owner():
    """A process that a broker is to live as long as."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def kept(resources, owner, log) -> keeper.Kept:
    jars = sorted(map(str, (resources / "jars/kafka").glob("*.jar")))
    return keeper.kept(owner.pid, jvm.find().executable, jars, log, lambda: None, WARMUP_S)


def gone(pid: int) -> bool:
    wait_until(lambda: not psutil.pid_exists(pid), GONE_S)
    return not psutil.pid_exists(pid)


def test_runs_of_one_owner_share_a_broker_that_ends_with_it(resources, owner, tmp_path):
    first = kept(resources, owner, tmp_path / "keeper.log")
    began = time.monotonic()
    assert kept(resources, owner, tmp_path / "keeper.log") == first
    assert time.monotonic() - began < keeper.ASK_DEADLINE_S
    assert any(phase["cpu_us_per_event"] for phase in first.warmup["phases"])
    owner.kill()
    owner.wait()
    assert gone(first.pid)


def test_a_broker_that_died_is_told_and_started_again(resources, owner, tmp_path):
    first = kept(resources, owner, tmp_path / "keeper.log")
    psutil.Process(first.pid).kill()
    assert gone(first.pid)
    with pytest.raises(StageFailed, match="broker: it ended by itself"):
        first.check()
    assert kept(resources, owner, tmp_path / "keeper.log").pid != first.pid


def test_a_broker_ends_with_its_keeper(resources, owner, tmp_path):
    first = kept(resources, owner, tmp_path / "keeper.log")
    psutil.Process(first.pid).parent().kill()
    assert gone(first.pid)


def test_an_owner_that_has_ended_has_no_broker(owner, tmp_path):
    owner.kill()
    owner.wait()
    with pytest.raises(CrayfishError, match="has ended"):
        keeper.kept(owner.pid, "java", [], tmp_path / "keeper.log", lambda: None, WARMUP_S)
