"""Processes of a run: start, ready, watch, stop; nothing outlives the run.

Every process that a run starts carries the run's tag in its environment, and its children inherit it, however far they
daemonise. At the end, and when the harness dies by kill -9 (a janitor process notices, see janitor.py), everything that
carries the tag is ended. A stage speaks JSON lines on its standard output and listens for them on its standard input;
whatever else it or its libraries print goes to its log.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from crayfish.engine.child import SCRIPTS, TAG
from crayfish.harness import cores
from crayfish.spec import inheritance
from crayfish.spec.errors import CrayfishError, full_disk
from crayfish.spec.waiting import wait_until

if TYPE_CHECKING:
    import psutil

STAGE = "CRAYFISH_STAGE"
STOP_DEADLINE_S = 30.0
FAILED_STOP_DEADLINE_S = 5.0  # where the run has failed: what a stage still has in hand is of no use
MESSAGE_S = 0.05  # that one look for a message waits
READ_DEADLINE_S = 5.0  # for what a stage said before it ended


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
    ):
        """cpus: what it and all that it starts may run on; None: what this thread may."""
        self.name = name
        self.log = log
        self.stopping = False
        log.parent.mkdir(parents=True, exist_ok=True)
        own = {
            TAG: tag,
            STAGE: name,
            "PYTHONPATH": str(SCRIPTS),
            "PYTHONUNBUFFERED": "1",
        }
        with log.open("w") as errors, cores.on(cpus) if cpus else nullcontext():
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**inheritance.inherited(os.environ), **own, **(environment or {})},
                start_new_session=True,
            )
        assert self.process.stdin is not None and self.process.stdout is not None  # they are pipes
        self._input, self._output = self.process.stdin, self.process.stdout
        self.messages: queue.SimpleQueue[dict] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._output:
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if isinstance(message, dict):
                self.messages.put(message)
            else:
                with self.log.open("a") as log:
                    log.write(line)

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(STOP_DEADLINE_S if error is None else FAILED_STOP_DEADLINE_S)

    def send(self, **message: object) -> None:
        """A JSON line to the stage."""
        try:
            self._input.write(json.dumps(message) + "\n")
            self._input.flush()
        except (BrokenPipeError, ValueError) as error:
            raise self.failure("no longer listens") from error

    def close_input(self) -> None:
        """Tell the stage that no more messages come: for some that means to end."""
        self.stopping = True
        self._input.close()

    def failure(self, what: str) -> StageFailed:
        """An error about this stage, with where its log lies and how it ends, and first of all if a disk is full."""
        full = full_disk(self.log.parent)
        first = f"{full}\n" if full else ""
        return StageFailed(f"{first}{self.name}: {what}\n  log: {self.log}\n{last_lines(self.log)}")

    def check(self) -> None:
        """Raise StageFailed if the process has ended though nobody stopped it."""
        status = self.process.poll()
        if status is not None and not self.stopping:
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
            self.process.terminate()
        try:
            self.process.wait(deadline_s)
            return True
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return False
        finally:
            self._input.close()
