"""The parts of a run that need no engine: they open, and leave nothing behind when they close."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import awaited

from crayfish.engine import child, jvm
from crayfish.harness import broker, janitor, parts, stages
from crayfish.harness import run as harness_run
from crayfish.harness.checker import right_answers
from crayfish.harness.run import Places, Run, check_existing
from crayfish.harness.stages import Stage, StageFailed
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import Job, RunSpec, Segment

SPEC = RunSpec("kafka_streams", "noop", (Segment("constant", rate=1),))


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Makes runs whose machine and temporary folder are the test's own; they start no process but what a test adds."""
    monkeypatch.setattr(parts.tempfile, "tempdir", str(tmp_path))
    java = jvm.Java("/no/java", "17")

    def make(owner: int | None = None) -> Run:
        return Run(
            SPEC, Places(Path("python"), Path("reference.npz"), None, java, [], [], tmp_path / "run", owner=owner)
        )

    return make


def sleeper(run: Run, name: str = "sleeper") -> Stage:
    return Stage(name, ["sleep", "60"], run.log_of(name), run.tag)


def handlers() -> list:
    return [signal.getsignal(number) for number in parts.SIGNALS]


def test_the_janitor_of_a_job_that_is_ended_does_not_wait_for_the_harness():
    """All processes of a job get SIGTERM, and SIGKILL a few seconds later; what tells it from the harness's end is that
    its standard input is still open."""
    tag = uuid.uuid4().hex
    with janitor.scratch_folder(tag) as folder:
        (mine,) = [each for each in psutil.Process().children() if "crayfish.harness.janitor" in each.cmdline()]
        stage = subprocess.Popen(["sleep", "60"], env={**os.environ, child.TAG: tag})
        awaited(lambda: signal.SIGTERM in caught(mine) or None, 30, "the janitor's signals")
        mine.send_signal(signal.SIGTERM)
        awaited(lambda: not folder.exists() or None, 30, "the removal of its folder")
        assert stage.wait(30) == -signal.SIGKILL


def caught(process: psutil.Process) -> set[int]:
    """The signals for which a process has a handler."""
    told = re.search(r"^SigCgt:\s+(\w+)$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    return {number for number in range(1, 65) if told and int(told[1], 16) >> number - 1 & 1}


def test_a_run_restores_the_signals_and_leaves_no_process_and_no_folder(opened):
    before = handlers()
    with opened() as run:
        assert handlers() != before and run.folder.is_dir()
        stage = run.open(sleeper(run))
        run.watch()
    assert handlers() == before
    assert stage.process.poll() is not None and not run.folder.exists()
    assert psutil.Process().children() == []


def test_the_wait_for_another_run_is_none_of_a_run_s_cost(opened, monkeypatch):
    had = []

    @contextlib.contextmanager
    def waited():
        had.append(time.monotonic())  # it has the machine from now on
        yield os.open(os.devnull, os.O_RDONLY)

    monkeypatch.setattr(harness_run, "machine_lock", waited)
    with opened() as run:
        assert run.started >= had[0]


def test_a_signal_interrupts_a_run_and_not_its_clearing_up(opened):
    before, closed = handlers(), []

    class Slow(Stage):
        def __exit__(self, *error: object) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            super().__exit__(*error)
            closed.append(True)

    with pytest.raises(parts.Interrupted, match="SIGTERM"), opened() as run:
        run.open(Slow("slow", ["sleep", "60"], run.log_of("slow"), run.tag))
        os.kill(os.getpid(), signal.SIGTERM)
    assert closed and handlers() == before


def test_parts_are_closed_in_reverse_order(opened):
    closed = []

    class Noting(Stage):
        def __exit__(self, *error: object) -> None:
            super().__exit__(*error)
            closed.append(self.name)

    with opened() as run:
        for name in ("broker", "processor", "producer"):
            run.open(Noting(name, ["sleep", "60"], run.log_of(name), run.tag))
    assert closed == ["producer", "processor", "broker"]


def test_a_part_that_dies_is_noticed_by_the_watch(opened):
    with opened() as run:
        stage = run.open(sleeper(run))
        stage.process.kill()
        stage.process.wait()
        with pytest.raises(StageFailed, match="sleeper: was killed by SIGKILL"):
            run.watch()
        run.watch(without=stage)


def test_a_parent_that_exits_is_noticed_by_the_watch(opened):
    parent = subprocess.Popen(["sleep", "60"])
    with opened(owner=parent.pid) as run:
        run.watch()
        parent.kill()
        parent.wait()
        with pytest.raises(parts.Interrupted, match=rf"The parent process \(PID {parent.pid}\) has exited"):
            run.watch()


def test_a_second_run_on_the_machine_is_refused():
    name = uuid.uuid4().hex
    with (
        parts.machine_lock(name),
        pytest.raises(CrayfishError, match=rf"another Crayfish run measures .*\(process {os.getpid()} of \w+\)"),
        parts.machine_lock(name, deadline_s=0.2),
    ):
        pass


def test_kill_9_ends_everything_and_the_machine_is_held_until_then(tmp_path):
    tag = uuid.uuid4().hex
    program = (
        "import sys, time; from pathlib import Path; from crayfish.harness import janitor, parts;"
        "from crayfish.harness.stages import Stage\n"
        "log, tag = Path(sys.argv[1]), sys.argv[2]\n"
        "with parts.machine_lock(tag) as lock, janitor.scratch_folder(tag, held=[lock]) as folder:\n"
        "    stage = Stage('part', ['sleep', '600'], log, tag)\n"
        "    print(folder, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "log"), tag]
    environment = {**os.environ, "PYTHONPATH": str(stages.SCRIPTS)}
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    folder = Path(owner.stdout.readline().strip())
    assert folder.is_dir() and len(list(stages.tagged(tag))) == 1
    owner.kill()
    with parts.machine_lock(tag):  # which the janitor held until it had done its work
        assert not folder.exists() and list(stages.tagged(tag)) == []
    owner.communicate()


def test_a_scratch_folder_is_removed_with_what_carries_its_tag(tmp_path):
    tag = uuid.uuid4().hex
    with janitor.scratch_folder(tag) as folder:
        stage = Stage("part", ["sleep", "60"], tmp_path / "log", tag)
        (folder / "file").write_text("x")
    assert stage.process.wait(20) == -signal.SIGKILL and not folder.exists()


def test_an_address_where_nobody_listens_is_an_error_that_names_it():
    with pytest.raises(CrayfishError, match=r"the server at unix-no:1 does not answer .*`cluster`"):
        check_existing({"server": "unix-no:1", "broker": "is asked later"})


def test_a_scorer_that_answers_a_constant_has_that_as_its_right_answer(tmp_path):
    outputs = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert len(np.unique(right_answers(Job.without_kafka(SPEC, str(tmp_path)), outputs))) == 1
    onnx = Job.without_kafka(RunSpec("kafka_streams", "onnx", SPEC.segments), str(tmp_path))
    assert right_answers(onnx, outputs) is outputs


def test_a_broker_that_does_not_answer_is_an_error_that_names_it():
    (port,) = child.free_ports(1)
    servers = f"127.0.0.1:{port}"
    with pytest.raises(CrayfishError, match=rf"broker: {servers} did not answer within 0\.2 s: .*\(.+\)"):
        broker.wait_ready(broker.admin_client(servers), servers, 0.2, lambda: None)
