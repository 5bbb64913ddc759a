"""A stage on another node, as its supervisor has it: here a node that is this machine, reached by nothing."""

import json
import os
import signal
import subprocess
import sys

import pytest
from conftest import awaited, crayfish_folders, tagged_processes

from crayfish.engine.child import SCRIPTS
from crayfish.harness import health, machine, stages
from crayfish.harness.nodes import Node, allocated
from crayfish.harness.stages import Stage, StageFailed
from crayfish.spec.errors import NotMade

ASKED = {"address": "127.0.0.1", "memory_bytes": 0, "lock": False}
DEADLINE_S = 30.0
SPEAKS = (
    "import json, os, sys, time; print(json.dumps({'event': 'here', 'folder': os.environ['CRAYFISH_SCRATCH']}));"
    " print('noise'); told = json.loads(sys.stdin.readline());"
    " print(json.dumps({'event': 'heard', 'told': told})); time.sleep(60)"
)
STUBBORN = (
    "import signal, subprocess, sys, time; signal.signal(15, signal.SIG_IGN);"
    " subprocess.Popen(['setsid', 'sleep', '61'], stdout=subprocess.DEVNULL);"
    ' print(\'{"event": "on"}\', flush=True); time.sleep(60)'
)


def elsewhere(tmp_path, program: str, **more: object) -> Stage:
    return Stage(
        "part",
        [sys.executable, "-c", program],
        tmp_path / "part.log",
        "test",
        node=Node(1, "here"),
        **{**ASKED, **more},
    )


@pytest.fixture(autouse=True)
def nothing_left():
    before = set(crayfish_folders())
    yield
    awaited(lambda: not tagged_processes() or None, DEADLINE_S, lambda: f"the end of {tagged_processes()}")
    awaited(lambda: set(crayfish_folders()) <= before or None, DEADLINE_S, "the removal of its folder")


def test_it_speaks_both_ways_and_tells_what_it_used(tmp_path):
    with elsewhere(tmp_path, SPEAKS) as stage:
        assert stage.about["machine"]["cpus"] == sorted(os.sched_getaffinity(0))
        assert stage.wait_for("here", DEADLINE_S)["folder"] in [*map(str, crayfish_folders())]
        stage.send(word="é")
        assert stage.wait_for("heard", DEADLINE_S)["told"] == {"word": "é"}
        stage.measure_memory()
    assert "noise" in (tmp_path / "part.log").read_text()
    assert stage.ended["status"] == -signal.SIGTERM and stage.ended["in_time"] and not stage.ended["outlived"]
    used = stage.ended["samples"]["stages"]["part"]
    assert used["pss_bytes"] > 0 and used["cpu_s"][-1] > 0


def test_one_that_ignores_its_end_is_killed_with_what_it_started(tmp_path):
    stage = elsewhere(tmp_path, STUBBORN)
    stage.wait_for("on", DEADLINE_S)
    assert not stage.stop(0.5)
    assert stage.ended["status"] == -signal.SIGKILL
    assert any("sleep 61" in each for each in stage.ended["outlived"])


def test_one_that_dies_fails_with_its_node_and_its_last_lines(tmp_path):
    stage = elsewhere(tmp_path, "import sys; sys.exit('out of luck')")
    with pytest.raises(StageFailed, match=r"(?s)part on node 1 \(here\): ended with exit status 1.*out of luck"):
        stage.wait_for("ready", DEADLINE_S)
    assert stage.stop()


def test_a_supervisor_that_dies_takes_all_with_it_and_the_stage_is_told_to_be_gone(tmp_path):
    stage = elsewhere(tmp_path, STUBBORN)
    stage.wait_for("on", DEADLINE_S)
    stage.process.kill()
    with pytest.raises(StageFailed, match="its supervisor, or the way to it, is gone"):
        awaited(stage.check, DEADLINE_S, "a failure")
    stage.stop()


def test_what_does_not_fit_into_the_nodes_memory_is_refused(tmp_path):
    with pytest.raises(StageFailed, match=r"part on this node needs about 1000000\.0 GB of memory"):
        elsewhere(tmp_path, SPEAKS, memory_bytes=10**15)


def test_a_node_that_cannot_be_reached_is_told(tmp_path):
    with pytest.raises(StageFailed, match="its supervisor, or the way to it, is gone"):
        Stage("part", ["true"], tmp_path / "part.log", "test", node=Node(1, "here", ("false",)), **ASKED)


@pytest.mark.parametrize("how", ["end of its input", "silence"])
def test_a_harness_that_is_gone_ends_it(tmp_path, how):
    asked = {"name": "part", "command": [sys.executable, "-c", STUBBORN], "environment": {}, "silence_s": 2.0}
    command = [sys.executable, "-m", stages.SUPERVISOR]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
    )
    process.stdin.write(json.dumps(asked | ASKED) + "\n")
    process.stdin.flush()
    lines = iter(process.stdout)
    assert next(json.loads(line) for line in lines if "event" in json.loads(line)) == {"event": "on"}
    if how == "silence":
        assert process.wait(DEADLINE_S) == 0
    else:
        process.stdin.close()
    told = json.loads(next(lines))
    assert told["supervisor"] == "ended" and told["status"] == -signal.SIGKILL
    process.wait(DEADLINE_S)


def here() -> dict:
    """Samples of this machine."""
    return {
        "stages": {"harness": {"time_ns": [0, 10, 20], "cpu_s": [0.0, 1.0, 2.0], "pss_bytes": 5, "rss_bytes_peak": 7}},
        "machine": {"boot_id": "a", "time_ns": [0, 10, 20], "cpu_s": [0.0, 1.5, 3.0], "stolen_s": [0.0] * 3},
    }


def there(boot_id: str, busy: list[float], node: int = 1) -> dict:
    """What the supervisor of a processor on a machine tells at its end."""
    stages = {
        "harness": {"cpu_s": [0.0, 0.5, 1.0], "pss_bytes": None, "rss_bytes_peak": 1},
        "processor": {"cpu_s": [0.0, 10.0, 20.0], "pss_bytes": 100, "rss_bytes_peak": 200},
    }
    used = {"boot_id": boot_id, "time_ns": [105, 115, 125], "cpu_s": busy, "stolen_s": [0.0] * 3}
    return {"samples": {"machine": used, "stages": stages}, "shift_ns": -105, "node": node}


def test_what_a_stage_used_elsewhere_is_added_at_the_times_of_this_machine():
    found = machine.merged(here(), [there("b", [])])["stages"]
    assert found["processor"]["cpu_s"] == [0.0, 10.0, 20.0] and found["processor"]["pss_bytes"] == 100
    assert found["harness"]["cpu_s"] == [0.0, 1.5, 3.0] and found["harness"]["rss_bytes_peak"] == 8
    assert found["harness"]["cpu_here_s"] == [0.0, 1.0, 2.0] and found["processor"]["cpu_here_s"] == [0.0] * 3


def test_a_node_that_is_this_machine_takes_nothing_from_itself():
    found = machine.merged(here(), [there("a", [])])["stages"]
    assert found["harness"]["cpu_here_s"] == [0.0, 1.5, 3.0] and found["processor"]["cpu_here_s"] == [0.0, 10.0, 20.0]
    assert machine.elsewhere(here(), [there("a", [])]) == {}


def test_what_others_use_of_another_machine_is_a_disturbance():
    busy = [0.0, 30.0, 60.0]  # by two processors and two supervisors 42 s
    found = machine.elsewhere(here(), [there("b", busy), there("b", busy, 2), there("a", [], 3)])
    segment = {"load_start_ns": 0, "end_ns": 20}
    ((node, samples),) = found.items()
    assert (node, samples["machine"]["time_ns"].tolist()) == (1, [0, 10, 20])
    (told,) = health.lost_cores_warnings(samples, {0: segment}, node)
    assert told == f"segment 1: on node 1 other processes used {18 / 20e-9:.2f} cores while it was measured"


def test_nodes_are_those_of_the_config_or_refused():
    given = [{"address": "10.0.0.1"}, {"address": "10.0.0.2", "namespace": "far"}]
    here, far = allocated(2, given, {})
    assert here.command(["true"]) == ["true"]
    assert far.number == 1 and far.command(["true"]) == ["nsenter", "--net=/run/netns/far", "true"]
    with pytest.raises(NotMade, match="the run takes 3 nodes, and there are 2"):
        allocated(3, given, {})
    with pytest.raises(NotMade, match="name them under `nodes` of the config, or use --profile slurm"):
        allocated(2, [], {})
