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
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from crayfish.engine.child import SCRIPTS, TAG
from crayfish.spec.errors import CrayfishError, full_disk

if TYPE_CHECKING:
    import psutil

STAGE = "CRAYFISH_STAGE"
STOP_DEADLINE_S = 20.0


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
    end = time.monotonic() + grace_s
    while time.monotonic() < end and any(tagged(tag, stage)):
        time.sleep(0.02)
    end = time.monotonic() + deadline_s
    while left := list(tagged(tag, stage)):
        for process in left:
            try:
                found.setdefault(process.pid, f"{process.pid} {' '.join(process.cmdline())[:160]}")
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, timeout=1.0)
        if time.monotonic() > end:
            raise CrayfishError(f"processes that cannot be killed: {'; '.join(found.values())}")
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
    """One process of a run."""

    def __init__(self, name: str, command: list[str], log: Path, tag: str, environment: dict[str, str] | None = None):
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
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **own, **(environment or {})},
                start_new_session=True,
            )
        self.messages: queue.SimpleQueue[dict] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if isinstance(message, dict):
                self.messages.put(message)
            else:
                with self.log.open("a") as log:
                    log.write(line)

    def send(self, **message: object) -> None:
        """A JSON line to the stage."""
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise self.failure("no longer listens") from error

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

    def drain(self) -> list[dict]:
        """The messages that have come since the last call, without waiting."""
        messages = []
        while True:
            try:
                messages.append(self.messages.get_nowait())
            except queue.Empty:
                return messages

    def wait_for(self, event: str, deadline_s: float, watch: Callable[[], None] = lambda: None) -> dict:
        """The next message with this event; others are dropped. `watch` is called meanwhile and may raise."""
        end = time.monotonic() + deadline_s
        while True:
            try:
                message = self.messages.get(timeout=0.05)
            except queue.Empty:
                self.check()
                watch()
                if self.process.poll() is not None:
                    self._reader.join()
                    if self.messages.empty():
                        raise self.failure(f"ended without reporting {event!r}") from None
                if time.monotonic() > end:
                    raise self.failure(f"did not report {event!r} within {deadline_s:g} s") from None
                continue
            if message.get("event") == event:
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
            self.process.stdin.close()
