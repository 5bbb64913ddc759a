"""Processes of a run, with small real processes: what they say, how they fail, and that nothing is left of them."""

import socket
import sys
import uuid

import pytest
from conftest import outgoing_ports

from crayfish.engine import child
from crayfish.harness import stages
from crayfish.harness.stages import Stage, StageFailed
from crayfish.spec.errors import CrayfishError, NotMade


def python(tmp_path, program: str, tag: str = "test") -> Stage:
    return Stage("part", [sys.executable, "-c", program], tmp_path / "part.log", tag)


def test_a_stage_reports_and_other_output_goes_to_its_log(tmp_path):
    program = (
        "import sys; from crayfish.engine import child; r = child.reporter(); print('noise'); r(event='ready', n=1)"
    )
    stage = python(tmp_path, program)
    assert stage.wait_for("ready", 20) == {"event": "ready", "n": 1}
    stage.process.wait(20)
    assert "noise" in (tmp_path / "part.log").read_text()


def test_a_stage_that_dies_fails_with_its_last_lines(tmp_path):
    stage = python(tmp_path, "import sys; sys.exit('out of luck')")
    with pytest.raises(StageFailed, match=r"(?s)part: ended with exit status 1.*part\.log.*out of luck"):
        stage.wait_for("ready", 20)


def test_a_stage_that_could_not_begin_says_so(tmp_path):
    program = (
        "from crayfish.spec import errors\ndef program(): raise errors.NotMade('not its turn')\nerrors.main(program)"
    )
    with pytest.raises(NotMade, match=r"(?s)the run cannot begin.*error: not its turn"):
        python(tmp_path, program).wait_for("ready", 20)


def test_a_stage_that_ends_after_it_was_asked_to_still_owes_its_report(tmp_path):
    stage = python(tmp_path, "pass")
    stage.stopping = True
    with pytest.raises(StageFailed, match="ended without reporting 'written'"):
        stage.wait_for("written", 20)


def test_a_deadline_passes(tmp_path):
    stage = python(tmp_path, "import time; time.sleep(60)")
    with pytest.raises(StageFailed, match=r"did not report 'ready' within 0.2 s"):
        stage.wait_for("ready", 0.2)
    assert stage.stop()


def test_one_that_ignores_sigterm_is_killed(tmp_path):
    program = (
        'import signal, time; signal.signal(15, signal.SIG_IGN); print(\'{"event": "on"}\', flush=True); time.sleep(60)'
    )
    stage = python(tmp_path, program)
    stage.wait_for("on", 20)
    assert not stage.stop(0.3)
    assert stage.process.poll() == -9


def test_sweep_finds_what_daemonised(tmp_path):
    tag = uuid.uuid4().hex
    daemon = "import os, time; os.setsid(); time.sleep(60)"
    program = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {daemon!r}])"
    python(tmp_path, program, tag).process.wait(20)
    assert len(list(stages.tagged(tag))) == 1
    assert "sleep(60)" in stages.sweep(tag)[0]
    assert list(stages.tagged(tag)) == []


def test_sweep_grants_a_moment_to_what_is_ending(tmp_path):
    tag = uuid.uuid4().hex
    ending = python(tmp_path, "import time; time.sleep(0.5)", tag)
    assert stages.sweep(tag, grace_s=20) == []
    assert ending.process.wait(20) == 0


def test_free_ports_are_free_and_none_that_an_outgoing_connection_could_get():
    found = child.free_ports(3)
    assert len(set(found)) == 3
    for port in found:
        assert port not in outgoing_ports()
        socket.create_server((child.HOST, port)).close()


def test_no_free_port_is_an_error_that_says_so(monkeypatch):
    with socket.create_server((child.HOST, 0)) as held:
        port = held.getsockname()[1]
        monkeypatch.setattr(child, "PORTS", range(port, port + 1))
        with pytest.raises(CrayfishError, match=r"no 1 free ports on 127\.0\.0\.1"):
            child.free_ports(1)
