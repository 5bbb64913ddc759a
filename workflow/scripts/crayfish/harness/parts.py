"""The parts of a run, each of which opens and closes (a context manager): what the run may be interrupted by, the
machine's lock, and the processes that it starts. crayfish.harness has a module of its own for the broker, the janitor
with the temporary folder (janitor) and the sampler (machine).
"""

from __future__ import annotations

import dataclasses
import logging
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from crayfish.harness import stages
from crayfish.harness.stages import Stage
from crayfish.spec.errors import NotMade
from crayfish.spec.limits import thread_variables
from crayfish.spec.locks import MEASURES, lock

if TYPE_CHECKING:
    from crayfish.harness.run import Run
    from crayfish.spec.run_spec import Segment

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
        self, run: Run, name: str, python: Path | str, module: str, *arguments: object, log_name: str | None = None
    ):
        command = [str(python), "-m", module, *map(str, arguments)]
        log_file, threads = run.log_of(log_name or name), thread_variables(run.spec.scorer_threads)
        cpus = run.cores.tested if name in ("processor", "server") else run.cores.measuring
        super().__init__(name, command, log_file, run.tag, threads, cpus)
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
        job_file = dataclasses.replace(run.job, workdir=str(workdir)).write(workdir / "job.json")
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
        stages.sweep(self._run.tag, "server")  # whatever it leaves would hold its address
        self.about["failures"] += 1
        self._start(f"server-{self.about['failures'] + 1}")
        self.about["down_s"] = round(self.about["down_s"] + time.monotonic() - began, 3)


class Processor(PythonStage):
    """The stream processor, in its own environment, with the scorer inside."""

    def __init__(self, run: Run):
        module, kind = "crayfish.engine.worker", "processors"
        super().__init__(run, "processor", run.places.python, module, kind, "--job", run.job_file)

    def await_ready(self) -> None:
        """Wait until all its parallel instances are up."""
        self.await_event("ready", self._run.spec.ready_timeout_s)
        self._run.mark("processor")

    def end(self) -> None:
        """Stop it; a warning if it has to be killed."""
        if not self.stop(stages.STOP_DEADLINE_S):
            self._run.warnings.append(
                f"{self._run.spec.processor} did not stop within {stages.STOP_DEADLINE_S:g} s and was killed"
            )
        self._run.mark("processor_stopped")


class Client(PythonStage):
    """The producer or the consumer: a module of the harness, which writes its table NAME.parquet."""

    def __init__(self, run: Run, name: str, *options: str):
        arguments = ["--job", run.job_file, "--reference", run.places.reference.resolve(), "--anchor", run.anchor_ns]
        out = run.folder / f"{name}.parquet"
        super().__init__(run, name, sys.executable, f"crayfish.harness.{name}", *arguments, "--out", out, *options)

    def write(self) -> None:
        """Let it write its table of all events so far."""
        self.send(write=True)
        self.await_event("written")


class Producer(Client):
    """The load generator; see crayfish.harness.producer."""

    def __init__(self, run: Run):
        super().__init__(run, "producer")

    def begin(self, number: int, load: Segment | None = None) -> dict:
        """Begin a segment of the run's, or this load in its place: how many `events`, and its `start_ns`."""
        self.send(segment=number, **({"load": vars(load)} if load else {}))
        return self.await_event("segment_started")

    def end(self) -> None:
        """Let it write its table and end."""
        self.close_input()
        self.await_event("written")


class Consumer(Client):
    """The sink; see crayfish.harness.consumer."""

    def __init__(self, run: Run, offline: bool = False):
        super().__init__(run, "consumer", *(["--offline"] if offline else []))

    def end(self, output_ends: list[int]) -> dict[str, int]:
        """Let it read each partition to its end, write its table and end; how many predictions there were."""
        self.send(until=output_ends)
        self.stopping = True
        written = self.await_event("written", START_DEADLINE_S + self._run.spec.drain_timeout_s)
        return {name: value for name, value in written.items() if name != "event"}
