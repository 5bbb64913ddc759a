"""Which cores a run's processes have: real processes, and machines as files describe them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crayfish.harness import cores
from crayfish.harness.run import check_cores
from crayfish.harness.stages import Stage
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import RunSpec, Segment

CHILD = "import os; print(sorted(os.sched_getaffinity(0)), flush=True)"
# Says what it, a thread of it and a child of it may run on.
PROGRAM = f"""
import os, subprocess, sys, threading
from crayfish.engine import child
found = [sorted(os.sched_getaffinity(0))]
thread = threading.Thread(target=lambda: found.append(sorted(os.sched_getaffinity(0))))
thread.start(); thread.join()
found.append(eval(subprocess.check_output([sys.executable, "-c", {CHILD!r}])))
child.reporter()(event="found", cpus=found)
"""


def topology(root, siblings: dict[int, str]):
    """The kernel's files of which CPUs are threads of one core."""
    for cpu, text in siblings.items():
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(text + "\n")
    return root


@pytest.fixture
def four_cores(tmp_path):
    """Of two hardware threads each, as kernels number them: 0-3 and again 4-7."""
    return topology(tmp_path, {cpu: f"{cpu % 4},{cpu % 4 + 4}" for cpu in range(8)})


def test_hardware_threads_of_a_core_stay_together(four_cores):
    assert cores.physical(range(8), four_cores) == [(0, 4), (1, 5), (2, 6), (3, 7)]
    assert cores.divide(1, range(8), four_cores) == cores.Division((3, 7), (0, 1, 2, 4, 5, 6))
    assert cores.divide(3, range(8), four_cores) == cores.Division((1, 2, 3, 5, 6, 7), (0, 4))


def test_only_those_that_the_run_may_use_count(four_cores):
    assert cores.divide(1, [1, 2, 6], four_cores) == cores.Division((2, 6), (1,))


def test_siblings_may_be_told_as_a_range(tmp_path):
    topology(tmp_path, {cpu: "0-1" if cpu < 2 else "2-3" for cpu in range(4)})
    assert cores.physical(range(4), tmp_path) == [(0, 1), (2, 3)]


def test_without_a_wish_all_share_all(four_cores):
    assert cores.divide(0, range(8), four_cores) == cores.Division(tuple(range(8)), tuple(range(8)))


def test_too_many_cores_are_refused_with_how_many_there_are(four_cores):
    told = r"run\.cores: 4 cores .*this machine has 4 \(8 CPUs\) for the run; allowed: 0 to 3"
    with pytest.raises(CrayfishError, match=told):
        cores.divide(4, range(8), four_cores)
    with pytest.raises(CrayfishError, match=r"allowed: 0$"):
        cores.divide(1, [0, 4], four_cores)


def test_a_stage_and_all_that_it_starts_have_the_cores_that_were_asked_for(tmp_path):
    before, wanted = os.sched_getaffinity(0), [max(os.sched_getaffinity(0))]
    stage = Stage("part", [sys.executable, "-c", PROGRAM], tmp_path / "part.log", "test", cpus=wanted)
    assert stage.wait_for("found", 60)["cpus"] == [wanted] * 3
    assert stage.stop() and os.sched_getaffinity(0) == before


def test_a_stage_without_a_wish_has_those_of_the_thread_that_starts_it(tmp_path):
    wanted = [min(os.sched_getaffinity(0))]
    with cores.on(wanted):
        stage = Stage("part", [sys.executable, "-c", PROGRAM], tmp_path / "part.log", "test")
    assert stage.wait_for("found", 60)["cpus"] == [wanted] * 3
    assert stage.stop()


def test_a_process_that_runs_already_is_moved_with_all_its_threads_and_children():
    program = (
        "import subprocess, sys, threading, time;"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start();"
        "child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    wanted = {max(os.sched_getaffinity(0))}
    try:
        cores.pin(process.pid, wanted)
        threads = [int(each.name) for each in Path(f"/proc/{process.pid}/task").iterdir()]
        assert len(threads) == 2
        assert all(os.sched_getaffinity(each) == wanted for each in (*threads, child))
        cores.pin(process.pid, os.sched_getaffinity(0))
        assert all(os.sched_getaffinity(each) == os.sched_getaffinity(0) for each in (*threads, child))
    finally:
        os.kill(child, 9)
        process.kill()
        process.communicate()


def test_a_process_that_has_ended_is_an_error():
    process = subprocess.Popen(["true"])
    process.wait(20)
    with pytest.raises(CrayfishError, match=rf"process {process.pid} cannot be moved .*it has ended"):
        cores.pin(process.pid, os.sched_getaffinity(0))


def test_cores_of_an_engine_elsewhere_are_refused():
    spec = RunSpec("flink", "onnx", (Segment("constant", rate=1),), cores=1)
    with pytest.raises(CrayfishError, match=r"run\.cores: 1 cores cannot be kept for the processor at host:8081"):
        check_cores(spec, {"processor": "host:8081"})
    check_cores(spec, {"broker": "host:9092"})
