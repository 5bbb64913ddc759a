"""The broker that lives from run to run, as long as the pipeline that runs belong to: `kept` finds or starts it.

`python -m crayfish.harness.keeper --owner PID --java PROGRAM --jars JAR...` is the process that keeps it, the keeper.
It starts the broker, warms it up (crayfish.harness.warming) and then tells every run that connects to its socket where
the broker is. Broker and keeper end when the owner ends, however it ends. The socket has a name but no file, so that
nothing is left of it; its name holds the owner's PID and start time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from crayfish.engine.child import SCRIPTS
from crayfish.harness import broker, janitor, warming
from crayfish.harness.stages import StageFailed, last_lines
from crayfish.spec import errors, inheritance, locks
from crayfish.spec.errors import CrayfishError
from crayfish.spec.waiting import wait_until

READY_DEADLINE_S = broker.READY_DEADLINE_S + 30  # beside the warm-up
ASK_DEADLINE_S = 60.0  # for a process to start, or to answer
ANSWER_BYTES = 1 << 20


@dataclass(frozen=True)
class Kept:
    """A broker that lives on after the run: its bootstrap servers, its process, its log, how its warm-up went, and its
    properties and JVM options."""

    servers: str
    pid: int
    log: str
    warmup: dict
    settings: dict

    def check(self) -> None:
        """Raise StageFailed if it has died."""
        if not psutil.pid_exists(self.pid):
            raise StageFailed(f"broker: it ended by itself\n{last_lines(Path(self.log))}")

    def log_size(self) -> int:
        """How much the broker has said so far, bytes."""
        return Path(self.log).stat().st_size

    def copy_log(self, target: Path, start: int) -> None:
        """Copy what it has said since then into a run's own log; nothing if the broker has gone with its log."""
        with contextlib.suppress(FileNotFoundError), Path(self.log).open("rb") as said:
            said.seek(start)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(said.read())


def kept(
    owner: int,
    java: str,
    jars: list[str],
    log: Path,
    watch: Callable[[], object],
    warmup_at_most_s: float,
) -> Kept:
    """The broker of this owner, warm; started if there is none: then its keeper writes to `log`.

    `watch` is called meanwhile and may raise. Raises CrayfishError with what the keeper said where the broker does not
    start.
    """
    try:
        name = _name(owner)
    except psutil.NoSuchProcess as error:
        raise CrayfishError(f"broker: the process that it is to live as long as, {owner}, has ended") from error
    process: subprocess.Popen | None = None

    def connected() -> socket.socket | None:
        nonlocal process
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(name)
        except ConnectionRefusedError:
            connection.close()
        else:
            process_id, user = locks.peer(connection)
            if user != os.getuid():
                connection.close()
                raise CrayfishError(f"broker: process {process_id} of user {user} answers in place of its keeper")
            return connection
        if process is None or process.poll() is not None:
            process = _started(owner, java, jars, log, warmup_at_most_s)
        return None

    failure = CrayfishError(f"broker: its keeper did not answer within {ASK_DEADLINE_S:g} s")
    with wait_until(connected, ASK_DEADLINE_S, lambda: failure, watch) as connection:  # type: ignore[union-attr]
        connection.settimeout(0.0)
        parts: list[bytes] = []

        def answered() -> bool:
            if not select.select([connection], [], [], 0.1)[0]:
                return False
            with contextlib.suppress(ConnectionResetError):
                parts.append(connection.recv(ANSWER_BYTES))
                return not parts[-1]
            return True

        deadline_s = READY_DEADLINE_S + warmup_at_most_s
        silent = f"broker: it was not ready within {deadline_s:g} s"
        wait_until(answered, deadline_s, lambda: CrayfishError(silent), watch, pause_s=0)
    if not any(parts):
        if process is None:  # of an earlier broker that has just died: the next has a keeper of its own
            return kept(owner, java, jars, log, watch, warmup_at_most_s)
        process.wait(ASK_DEADLINE_S)  # for what it says last
        raise StageFailed(f"broker: its keeper died\n  log: {log}\n{last_lines(log)}")
    answer = json.loads(b"".join(parts))
    if "error" in answer:
        raise CrayfishError(answer["error"])
    return Kept(**answer)


def _name(owner: int) -> str:
    """The socket's name: in the kernel's own name space (the leading zero), not a file."""
    return f"\0crayfish-broker-{owner}-{psutil.Process(owner).create_time():.2f}"


def _started(owner: int, java: str, jars: list[str], log: Path, warmup_at_most_s: float) -> subprocess.Popen:
    command = [sys.executable, "-m", "crayfish.harness.keeper", "--owner", str(owner), "--java", java]
    command += ["--warmup-at-most-s", str(warmup_at_most_s)]
    environment = inheritance.inherited(os.environ)  # without the tag of a run, which it outlives
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as said:
        return subprocess.Popen(
            [*command, "--jars", *jars],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
            env={**environment, "PYTHONPATH": str(SCRIPTS)},
        )


# --- the keeper ------------------------------------------------------------------------------------------------------


def keep(owner: int, java: str, jars: list[str], warmup_at_most_s: float, listener: socket.socket) -> None:
    """Start the broker, warm it up, and answer whoever connects, until the owner or the broker ends."""
    ended = os.pidfd_open(owner)
    told, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGTERM, lambda *_: None)
    tag = uuid.uuid4().hex

    def watch() -> None:
        if select.select([ended, told], [], [], 0)[0]:
            raise SystemExit

    with janitor.scratch_folder(tag) as folder:
        started = broker.start(java, jars, folder / "broker", folder / "broker.log", tag)
        (stage,), servers = started.stages, started.servers
        with stage:
            admin = broker.admin_client(servers)

            def alive() -> None:
                watch()
                stage.check()

            broker.wait_ready(admin, servers, broker.READY_DEADLINE_S, alive)
            warmup = warming.warm(admin, servers, stage.process.pid, alive, warmup_at_most_s)
            answer = asdict(Kept(servers, stage.process.pid, str(stage.log), warmup, started.settings))
            died = os.pidfd_open(stage.process.pid)
            while select.select([listener.fileno(), ended, told, died], [], [])[0] == [listener.fileno()]:
                _tell(listener, answer)


def _tell(listener: socket.socket, answer: dict) -> None:
    """The answer to the next one that connects; nothing if it has gone."""
    listener.settimeout(ASK_DEADLINE_S)
    with contextlib.suppress(OSError), listener.accept()[0] as connection:
        connection.settimeout(ASK_DEADLINE_S)
        connection.sendall(json.dumps(answer).encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--owner", type=int, required=True)
    parser.add_argument("--java", required=True)
    parser.add_argument("--jars", nargs="+", required=True)
    parser.add_argument("--warmup-at-most-s", type=float, required=True)
    arguments = parser.parse_args()
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(_name(arguments.owner))
        except (OSError, psutil.NoSuchProcess):
            return  # another keeper was faster, or there is nobody to keep it for
        listener.listen()
        try:
            keep(arguments.owner, arguments.java, arguments.jars, arguments.warmup_at_most_s, listener)
        except CrayfishError as error:
            _tell(listener, {"error": str(error)})


if __name__ == "__main__":
    errors.main(main)
