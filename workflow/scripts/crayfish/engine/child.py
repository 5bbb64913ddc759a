"""What a process of a run and those that it starts have in common: ports, reports to the harness, how they end.

It uses no package: it serves in every environment.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from crayfish.spec.errors import CrayfishError
from crayfish.spec.waiting import wait_until

# What a harness tells a stage on another node: an address of that node to listen on, and a folder of its own there.
ADDRESS, SCRATCH = "CRAYFISH_ADDRESS", "CRAYFISH_SCRATCH"
LOOPBACK = "127.0.0.1"
HOST = os.environ.get(ADDRESS, LOOPBACK)
FAMILY = socket.AF_INET6 if ":" in HOST else socket.AF_INET
PR_SET_PDEATHSIG = 1
TAG = "CRAYFISH_RUN"  # the environment variable by which a run's processes are found, however far they daemonise
SCRIPTS = Path(__file__).resolve().parents[2]  # the folder that PYTHONPATH names in every process of a run
CONNECT_S, CONNECT_PAUSE_S = 1.0, 0.1
PORTS = range(20_000, 65_536)  # below it Ray places workers
EPHEMERAL_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


def reporter() -> Callable[..., None]:
    """Claim standard output for JSON lines to the harness, and send all other output to the log."""
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    lock = threading.Lock()

    def report(**message: object) -> None:
        with lock:
            channel.write(json.dumps(message) + "\n")

    return report


def free_ports(count: int) -> list[int]:
    """Ports of HOST that are free now, all different; CrayfishError if there are not as many.

    None that the kernel could give to an outgoing connection before the server that it is meant for has taken it.
    """
    first, last = map(int, EPHEMERAL_PORTS.read_text().split())
    candidates = [port for port in PORTS if not first <= port <= last] or list(PORTS)
    found = []
    for port in random.SystemRandom().sample(candidates, len(candidates)):
        with contextlib.suppress(OSError), socket.create_server((HOST, port), family=FAMILY):
            found.append(port)
            if len(found) == count:
                return found
    raise CrayfishError(f"no {count} free ports on {HOST} between {PORTS[0]} and {PORTS[-1]}: stop what holds them")


def at(host: str, port: int) -> str:
    """host:port, with the brackets that an IPv6 address needs there."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def await_listener(address: str | None, deadline_s: float) -> None:
    """Wait until somebody listens at "host:port"; CrayfishError after the deadline."""
    host, _, port = str(address).rpartition(":")

    def listens() -> bool:
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
        except OSError:
            return False
        return True

    late = CrayfishError(f"nobody listened at {address} within {deadline_s:g} s")
    wait_until(listens, deadline_s, lambda: late, pause_s=CONNECT_PAUSE_S)


def die_with_parent() -> Callable[[], None]:
    """For Popen's preexec_fn: the new process is killed when this one ends, however that ends."""
    parent = os.getpid()

    def prepare() -> None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def start(command: list[str], **options: Any) -> subprocess.Popen:
    """A child process that is killed when this one ends; OSError if it cannot be started.

    `options` are Popen's; without any its standard input is empty.
    """
    return subprocess.Popen(command, **{"stdin": subprocess.DEVNULL, "preexec_fn": die_with_parent(), **options})


def watch(
    children: list[subprocess.Popen],
    stop_event: threading.Event,
    *,
    is_ready: Callable[[], bool],
    ready: Callable[[], None],
    stopping: Callable[[], None] = lambda: None,
    ended: Callable[[int, int, bool], str],
    every_s: tuple[float, float],
    deadline_s: float,
) -> None:
    """Watch child processes until the event is set, then stop them as stop() does.

    It looks every every_s[0] seconds until is_ready(), calls ready() once, and then looks every every_s[1] seconds;
    stopping() is called before they are stopped, if they were ready. A child that ends by itself is a CrayfishError
    with what ended(its number, exit status, whether they still started) says.
    """
    try:
        starting = True
        while not stop_event.wait(every_s[0] if starting else every_s[1]):
            for number, child in enumerate(children):
                if child.poll() is not None:
                    raise CrayfishError(ended(number, child.returncode, starting))
            if starting and is_ready():
                ready()
                starting = False
        if not starting:
            stopping()
    finally:
        stop(children, deadline_s)


def stop(children: Iterable[subprocess.Popen], deadline_s: float) -> bool:
    """SIGTERM for all of them, and SIGKILL for those that have not ended in time; whether all ended in time."""
    children = list(children)
    for child in children:
        child.terminate()
    return await_end(children, deadline_s)


def await_end(children: Iterable[subprocess.Popen], deadline_s: float) -> bool:
    """Wait until all of them have ended, and kill those that have not in time; whether all ended in time."""
    end, in_time = time.monotonic() + deadline_s, True
    for child in children:
        try:
            child.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            in_time = False
    return in_time
