"""Processes of a run: start, ready, watch, stop; nothing outlives the run.

Every process that a run starts carries the run's tag in its environment, and its children inherit it, however far they
daemonise. At the end, and when the harness dies by kill -9 (a janitor process notices, see janitor.py), everything that
carries the tag is ended. A stage speaks JSON lines on its standard output and listens for them on its standard input;
whatever else it or its libraries print goes to its log. On another node a supervisor (supervisor.py) does the same for
it there, under a tag of its own.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from crayfish.engine.child import SCRIPTS, TAG
from crayfish.harness import clocks, cores
from crayfish.spec import inheritance
from crayfish.spec.errors import NOT_MADE, CrayfishError, NotMade, full_disk
from crayfish.spec.waiting import wait_until

if TYPE_CHECKING:
    import psutil

    from crayfish.harness.nodes import Node

STAGE = "CRAYFISH_STAGE"
HARNESS = "harness"  # the stage of what measures, supervisors included
STOP_DEADLINE_S = 30.0
FAILED_STOP_DEADLINE_S = 5.0  # where the run has failed: what a stage still has in hand is of no use
MESSAGE_S = 0.05  # that one look for a message waits
READ_DEADLINE_S = 5.0  # for what a stage said before it ended
SUPERVISOR = "crayfish.harness.supervisor"
ALIVE_EVERY_S, SILENCE_S = 2.0, 20.0  # how often a supervisor hears of its harness, and how long it waits to
START_DEADLINE_S = 60.0  # for a supervisor
REACH_S = 30.0  # beside what a stage may take to stop: for its supervisor to clear up and tell


def tagged(tag: str, stage: str | None = None) -> Iterator[psutil.Process]:
    """Every live process that carries this run's tag, or only those of one stage."""
    import psutil  # which the processors' environments lack: they only report

    for process in psutil.process_iter():
        try:
            environment = process.environ()
            wanted = environment.get(TAG) == tag and stage in (None, environment.get(STAGE))
            if wanted and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def sweep(tag: str, stage: str | None = None, deadline_s: float = 10.0, grace_s: float = 0.0) -> list[str]:
    """Kill every process that carries the tag, or only those of one stage, until none is left.

    Returns what was found, as 'pid command line'; what ends by itself within `grace_s` is not among it.
    """
    import psutil

    found: dict[int, str] = {}

    def none_left() -> bool:
        left = list(tagged(tag, stage))
        for process in left:
            try:
                found.setdefault(process.pid, f"{process.pid} {' '.join(process.cmdline())[:160]}")
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, timeout=1.0)
        return not left

    wait_until(lambda: not any(tagged(tag, stage)), grace_s)
    wait_until(
        none_left,
        deadline_s,
        lambda: CrayfishError(f"processes that cannot be killed: {'; '.join(found.values())}"),
        pause_s=0,
    )
    return list(found.values())


def remove_named(tag: str) -> None:
    """Remove the shared memory (Triton's) and the folders of /tmp (Ray's, see ray_node.py) whose names bear the tag."""
    for left in (*Path("/dev/shm").glob(f"*{tag}*"), *Path("/tmp").glob(f"crayfish-{tag[:12]}-*")):
        shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log, for an error message."""
    if not log.exists():
        return "(no log)"
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(f"    {line}" for line in lines[-count:]) or "    (the log is empty)"


class StageFailed(CrayfishError):
    """A stage that ended by itself or did not do in time what was awaited."""


class Stage:
    """One process of a run. A context manager: leaving it stops the process, sooner where the run has failed."""

    def __init__(
        self,
        name: str,
        command: list[str],
        log: Path,
        tag: str,
        environment: dict[str, str] | None = None,
        cpus: Collection[int] | None = None,
        node: Node | None = None,
        **asked: object,
    ):
        """cpus: what it and all that it starts may run on; None: what this thread may. node: where a supervisor starts
        it, which is asked for the rest too; None: here."""
        self.name = name
        self.log = log
        self.node = node
        self.about: dict = {}  # what its supervisor tells of its node
        self.ended: dict = {}  # the same of its end, with what it used
        self.stopping = False
        log.parent.mkdir(parents=True, exist_ok=True)
        own = {TAG: tag, STAGE: HARNESS if node else name, "PYTHONPATH": str(SCRIPTS), "PYTHONUNBUFFERED": "1"}
        words = node.command(["env", f"PYTHONPATH={SCRIPTS}", sys.executable, "-m", SUPERVISOR]) if node else command
        with log.open("w") as errors, cores.on(cpus) if cpus else nullcontext():
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**inheritance.inherited(os.environ), **own, **({} if node else environment or {})},
                start_new_session=True,
            )
        assert self.process.stdin is not None and self.process.stdout is not None  # they are pipes
        self._input, self._output = self.process.stdin, self.process.stdout
        self._writing = threading.Lock()
        self.messages: queue.SimpleQueue[dict] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if node:
            told = {"name": name, "command": command, "environment": environment or {}, "silence_s": SILENCE_S}
            with suppress(StageFailed):  # the look at the process tells why
                self.send(**told, **asked)
            silent = f"its supervisor did not answer within {START_DEADLINE_S:g} s"
            try:
                wait_until(lambda: self.about, START_DEADLINE_S, lambda: self.failure(silent), self.check)
            except BaseException:
                self.stop(FAILED_STOP_DEADLINE_S)
                raise
            threading.Thread(target=self._tell_alive, daemon=True).start()

    def _read(self) -> None:
        for line in self._output:
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if not isinstance(message, dict):
                with self.log.open("a") as log:
                    log.write(line)
            elif not self.node or "supervisor" not in message:
                self.messages.put(message)
            elif message["supervisor"] == "ended":
                self.ended = {**message, "shift_ns": time.monotonic_ns() + clocks.anchor() - message["now_ns"]}
            else:
                self.about = message

    def _tell_alive(self) -> None:
        while self.process.poll() is None:
            if not self._told_supervisor("alive"):
                return
            time.sleep(ALIVE_EVERY_S)

    def _told_supervisor(self, what: str, **message: object) -> bool:
        """Tell the supervisor something; whether it listens."""
        try:
            self.send(supervisor=what, **message)
        except StageFailed:
            return False
        return True

    def measure_memory(self) -> None:
        """Let the supervisor note the memory of a stage elsewhere; of one here the run's sampler does."""
        if self.node:
            self._told_supervisor("memory")

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(STOP_DEADLINE_S if error is None else FAILED_STOP_DEADLINE_S)

    def send(self, **message: object) -> None:
        """A JSON line to the stage."""
        try:
            with self._writing:
                self._input.write(json.dumps(message) + "\n")
                self._input.flush()
        except (BrokenPipeError, ValueError) as error:
            raise self.failure("no longer listens") from error

    def close_input(self) -> None:
        """Tell the stage that no more messages come: for some that means to end."""
        self.stopping = True
        if self.node:
            self._told_supervisor("close")
        else:
            self._input.close()

    def failure(self, what: str) -> StageFailed:
        """An error about this stage, with where its log lies and how it ends, and first of all if a disk is full."""
        full = full_disk(self.log.parent)
        first = f"{full}\n" if full else ""
        where = f" on node {self.node.number} ({self.node.address})" if self.node else ""
        return StageFailed(f"{first}{self.name}{where}: {what}\n  log: {self.log}\n{last_lines(self.log)}")

    def check(self) -> None:
        """Raise StageFailed if the process has ended though nobody stopped it, or NotMade if it says that."""
        status = self.process.poll()
        if status is None or self.stopping:
            return
        if self.node:
            self._reader.join(READ_DEADLINE_S)
            if not self.ended:
                raise self.failure(f"its supervisor, or the way to it, is gone (exit status {status})")
            status = self.ended["status"]
        if status == NOT_MADE:
            raise NotMade(str(self.failure("the run cannot begin")))
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        raise self.failure(how)

    def new_messages(self) -> list[dict]:
        """The messages that have come since the last call, without waiting."""
        messages = []
        while True:
            try:
                messages.append(self.messages.get_nowait())
            except queue.Empty:
                return messages

    def wait_for(self, event: str, deadline_s: float, watch: Callable[[], object] = lambda: None) -> dict:
        """The next message with this event; others are dropped. `watch` is called meanwhile and may raise."""

        def wanted() -> dict | None:
            try:
                message = self.messages.get(timeout=MESSAGE_S)
            except queue.Empty:
                return None
            return message if message.get("event") == event else None

        def alive() -> None:
            if not self.messages.empty():
                return
            self.check()
            watch()
            if self.process.poll() is not None:
                self._reader.join(READ_DEADLINE_S)
                if self.messages.empty():
                    raise self.failure(f"ended without reporting {event!r}")

        silent = f"did not report {event!r} within {deadline_s:g} s"
        message = wait_until(wanted, deadline_s, lambda: self.failure(silent), alive, pause_s=0)
        assert message is not None  # an error was raised otherwise
        return message

    def stop(self, deadline_s: float = STOP_DEADLINE_S) -> bool:
        """SIGTERM, and after the deadline SIGKILL for its process group; returns whether it ended in time."""
        self.stopping = True
        if self.process.poll() is None:
            if self.node:
                self._told_supervisor("stop", grace_s=deadline_s)
                deadline_s += REACH_S
            else:
                self.process.terminate()
        try:
            self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return False
        finally:
            if self.node:
                self._reader.join(READ_DEADLINE_S)
            with suppress(BrokenPipeError):
                self._input.close()
        return bool(self.ended.get("in_time", True))
