"""The parts of a run, each of which opens and closes (a context manager): what the run may be interrupted by, the
machine's lock, and the processes that it starts. crayfish.harness has a module of its own for the broker, the janitor
with the temporary folder (janitor) and the sampler (machine).
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import select
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from crayfish.harness import janitor, stages
from crayfish.harness.stages import Stage
from crayfish.spec import discovery
from crayfish.spec.errors import NotMade
from crayfish.spec.limits import thread_variables
from crayfish.spec.locks import MEASURES, lock

if TYPE_CHECKING:
    from crayfish.harness.run import Run

LOCK_DEADLINE_S = 30.0
START_DEADLINE_S = 60.0  # for a process of the harness to start, or to write its table
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
log = logging.getLogger("crayfish")


class Interrupted(NotMade):
    """The run was told to stop, or its parent process has exited."""


class Signals:
    """While open, SIGTERM, SIGINT and SIGHUP raise Interrupted, until ignore(). Closing restores their handlers."""

    def __enter__(self) -> Signals:
        self._before = {number: signal.signal(number, self._interrupt) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    @staticmethod
    def _interrupt(number: int, frame: object) -> None:
        raise Interrupted(f"the run was stopped by {signal.Signals(number).name}; repeat the same command")

    def ignore(self) -> None:
        """From now on nothing interrupts: the run is being cleared up."""
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


class Parent:
    """The process whose exit ends the run, or none."""

    def __init__(self, pid: int | None):
        self._pid = pid

    def __enter__(self) -> Parent:
        self._descriptor = os.pidfd_open(self._pid) if self._pid else None
        return self

    def __exit__(self, *error: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def check(self) -> None:
        """Raise Interrupted if it has exited."""
        if self._descriptor is not None and select.select([self._descriptor], [], [], 0)[0]:
            raise Interrupted(
                f"The parent process (PID {self._pid}) has exited; the run was stopped. Repeat the same command."
            )


@contextmanager
def machine_lock(name: str = MEASURES, deadline_s: float = LOCK_DEADLINE_S) -> Iterator[int]:
    """Hold the machine for one run, so that no two measure at once, whoever's they are; the lock's file descriptor.

    A process that inherits the descriptor holds the machine on until it ends.
    """
    descriptor = lock(
        name,
        deadline_s,
        lambda holder: (
            f"another Crayfish run measures on this machine ({holder}), and two at once would disturb each other: wait"
            " for it or stop it, then repeat the command"
        ),
    )
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class PythonStage(Stage):
    """A process of a run that is a module of this library."""

    def __init__(
        self,
        run: Run,
        name: str,
        python: Path | str,
        module: str,
        *arguments: object,
        log_name: str | None = None,
        asked: dict | None = None,
    ):
        """asked: what its supervisor is told (Run.asks), where it has one."""
        command = [str(python), "-m", module, *map(str, arguments)]
        log_file, threads = run.log_of(log_name or name), thread_variables(run.spec.scorer_threads)
        tested = name in ("processor", "server")
        cpus = run.cores.tested if tested else run.cores.measuring
        variables = threads | (run.gpus.variables((asked or {}).get("node")) if tested else {})
        super().__init__(name, command, log_file, run.tag, variables, cpus, **(asked or {}))
        if asked:
            run.elsewhere.append(self)
        self._run = run

    def await_event(self, event: str, deadline_s: float = START_DEADLINE_S) -> dict:
        """The next message with this event; the run is watched meanwhile."""
        return self.wait_for(event, deadline_s, self._run.watch)


class Server:
    """The server of an external scorer. With on_server_failure "retry" a dead one is started again at its address."""

    def __init__(self, run: Run):
        self._run = run
        self._stage: Stage | None = None
        self.about: dict = {}  # what it says of itself, with `address`, and how often it failed
        self._told: Path | None = None  # where the one that runs tells of its batches

    @property
    def batches(self) -> dict | None:
        """What its batches were, once it has ended; None where it made none, or was not asked. Of one that was started
        again those since then."""
        return json.loads(self._told.read_text()) if self._told and self._told.exists() else None

    def __enter__(self) -> Server:
        address = self._run.places.existing.get("server")
        self.about = {**({"address": address} if address else self._start("server")), "failures": 0, "down_s": 0.0}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stage:
            self._stage.__exit__(kind, error, trace)

    def _start(self, log_name: str) -> dict:
        """Start it and wait until all its workers answer; what it says of itself."""
        run = self._run
        workdir = Path(tempfile.mkdtemp(prefix="server-", dir=run.folder))
        job = dataclasses.replace(run.job, workdir=str(workdir))
        self._told, job_file = job.batches, job.write(workdir / "job.json")
        assert run.places.server_python is not None  # execute_run gets it for every external scorer
        self._stage = PythonStage(
            run,
            "server",
            run.places.server_python,
            "crayfish.engine.worker",
            "servers",
            "--job",
            job_file,
            log_name=log_name,
            asked=run.asks("server")[0],
        )
        try:
            about = self._stage.wait_for("ready", run.spec.ready_timeout_s, lambda: run.watch(without=self))
        except BaseException:
            self._stage.stop(stages.FAILED_STOP_DEADLINE_S)
            raise
        return {name: value for name, value in about.items() if name != "event"}

    def check(self) -> None:
        """Raise StageFailed if it has died; or start it again, and count what that cost."""
        if self._stage is None:
            return
        dead = self._stage.process.poll() is not None and not self._stage.stopping
        if dead and self._run.spec.on_server_failure == "retry":
            self._restart(self._stage)
        else:
            self._stage.check()

    def _restart(self, stage: Stage) -> None:
        began = time.monotonic()
        first_line = stage.failure("died; it is started again").args[0].splitlines()[0]
        log.warning("%s  %s", self._run.places.title, first_line)
        stage.stop()
        if self._run.fault:
            self._run.fault.notice("detected_s")
        stages.sweep(self._run.tag, "server")  # whatever it leaves would hold its address
        self.about["failures"] += 1
        self._start(f"server-{self.about['failures'] + 1}")
        if self._run.fault:
            self._run.fault.notice("restarted_s")
        self.about["down_s"] = round(self.about["down_s"] + time.monotonic() - began, 3)


class Processor:
    """The stream processor, in its environment, with the scorer inside: one process, or one on each of its nodes."""

    def __init__(self, run: Run, job_file: Path):
        self._run, self._job_file = run, job_file
        self._revived = False

    @property
    def _withdrawal(self) -> Path:
        return self._run.folder / janitor.WITHDRAW

    def __enter__(self) -> Processor:
        if self._run.job.processor_address and discovery.processor(self._run.spec.processor).withdraw:
            command = [str(self._run.places.python), "-m", "crayfish.engine.worker", "processors", "--withdraw"]
            self._withdrawal.write_text(json.dumps([*command, "--job", str(self._run.job_file)]))
        asked = self._run.asks("processor")
        with ExitStack() as opened:
            self._opened = opened
            self.stages = [
                self._started(f"processor-{member + 1}" if len(asked) > 1 else "processor", member, told)
                for member, told in enumerate(asked)
            ]
            self._opened = opened.pop_all()
        return self

    def _started(self, log_name: str, member: int = 0, asked: dict | None = None) -> PythonStage:
        arguments = ("processors", "--job", self._job_file, "--member", member)
        stage = PythonStage(
            self._run,
            "processor",
            self._run.places.python,
            "crayfish.engine.worker",
            *arguments,
            log_name=log_name,
            asked=asked,
        )
        self._opened.enter_context(stage)
        return stage

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)

    def check(self) -> None:
        """Raise StageFailed if it has died; one that the run itself has killed is started again, once."""
        fault = self._run.fault
        if fault and fault.about["what"] == "kill_processor" and fault.about["at_ns"]:
            if not self._revived and self.stages[0].process.poll() is not None:
                fault.notice("detected_s")
                self._revived = True
                stages.sweep(self._run.tag, "processor")
                self.stages = [self._started("processor-2")]
            if self._revived and any(each["event"] == "ready" for each in self.stages[0].new_messages()):
                fault.notice("restarted_s")
        for stage in self.stages:
            stage.check()

    def await_ready(self) -> None:
        """Wait until all its parallel instances are up."""
        for stage in self.stages:
            stage.await_event("ready", self._run.spec.ready_timeout_s)
        self._run.mark("processor")

    def end(self) -> None:
        """Stop it; a warning if it has to be killed."""
        for stage in reversed(self.stages):
            if stage.stop(stages.STOP_DEADLINE_S):
                self._withdrawal.unlink(missing_ok=True)
            else:
                self._run.warnings.append(
                    f"{self._run.spec.processor} did not stop within {stages.STOP_DEADLINE_S:g} s and was killed"
                )
        self._run.mark("processor_stopped")
