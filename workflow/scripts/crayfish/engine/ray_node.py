"""A Ray of this process's own: one node on the loopback, its files in the stage's folder, ended with the process.

Shared by the processor and the server that are built on Ray. Workers inherit this process's environment: PYTHONPATH,
the run's tag, OMP_NUM_THREADS. Ray's daemons die with this process (they ask the kernel for it), workers with those.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from crayfish.engine import child, turns
from crayfish.engine.child import HOST, SCRIPTS, TAG
from crayfish.spec.errors import CrayfishError
from crayfish.spec.waiting import wait_until

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from ray.actor import ActorHandle

    from crayfish.spec.run_spec import Job

WORKERS_DEADLINE_S = 5.0
WATCH_S = 0.2
HOLDER_DEADLINE_S = 5.0
OBJECT_STORE_BYTES = 256 * 1024 * 1024
SOCKET_PATH_BYTES = 107  # what a Unix socket's path may have
LONGEST_SOCKET = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1"
ENVIRONMENT = {
    "RAY_worker_niceness": "0",  # Ray's default of 15 handicaps its workers against all other processes
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_enable_metrics_collection": "false",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",  # a process whose control service is gone ends itself
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
TURN = {"name": "crayfish-measures", "namespace": "crayfish"}  # of the actor that holds a given Ray
# Not a cluster of several machines, whatever the name says: without it Ray replaces 127.0.0.1 by the machine's
# address, and with it its daemons and workers listen on the loopback alone.
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


def _folder(workdir: Path) -> tuple[Path, bool]:
    """Where Ray's sockets fit, and whether that folder is one more to remove."""
    if len(os.fsencode(f"{workdir}{LONGEST_SOCKET}")) <= SOCKET_PATH_BYTES:
        return workdir, False
    return Path(tempfile.mkdtemp(prefix=f"crayfish-{os.environ.get(TAG, 'ray')[:12]}-", dir="/tmp")), True


def _prepare(folder: Path, secret: str | None) -> None:
    """Set the variables by which Ray, started later, asks for a secret; None: one that it alone has."""
    token = folder / "ray-token"
    token.touch(0o600)
    token.write_text(secret or secrets.token_hex(32))
    os.environ.update(ENVIRONMENT, RAY_AUTH_TOKEN_PATH=str(token))
    os.environ.update({} if secret else ALONE)


@contextlib.contextmanager
def started(
    workdir: Path,
    workers: int,
    deadline_s: float,
    head: tuple[str, str] | None = None,
    members: int = 1,
    **options: object,
) -> Iterator[Callable[[], None]]:
    """Start Ray for so many worker processes; yields a function that raises CrayfishError if one of its daemons died.

    head: "host:port" at which other nodes join it, and the secret that they share; it waits until there are `members`.
    `options` go to ray.init. CrayfishError if it does not start within about deadline_s.
    """
    folder, extra = _folder(workdir)
    _prepare(folder, head[1] if head else None)
    if head:
        os.environ["RAY_GCS_SERVER_PORT"] = head[0].rpartition(":")[2]
    import ray

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _init(folder, workers, deadline_s, options)
        for number, handler in handlers.items():  # ray.init takes SIGTERM for itself
            signal.signal(number, handler)
        if members > 1:
            wait_until(
                lambda: sum(node["Alive"] for node in ray.nodes()) == members,
                deadline_s,
                lambda: CrayfishError(f"ray: not all its {members} nodes joined within {deadline_s:g} s"),
            )
        yield _check
    finally:
        import psutil  # the one that Ray brings, on the path since Ray was imported

        processes = psutil.Process().children(recursive=True)
        ray.shutdown()
        _, alive = psutil.wait_procs(processes, WORKERS_DEADLINE_S)  # a worker that holds a JVM takes a while
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if extra:
            shutil.rmtree(folder, ignore_errors=True)


def join(job: Job, stop: threading.Event, ready: Callable[[], None]) -> None:
    """Be one more node of the Ray at job.head until `stop` is set."""
    folder, extra = _folder(Path(job.workdir))
    _prepare(folder, job.secret)
    child.await_listener(job.head, job.spec.ready_timeout_s)
    ray = Path(sys.executable).with_name("ray")
    size = (f"--num-cpus={len(job.instances)}", "--num-gpus=0", f"--object-store-memory={OBJECT_STORE_BYTES}")
    command = [str(ray), "start", f"--address={job.head}", "--block", f"--node-ip-address={HOST}", *size]
    try:
        child.watch(
            [child.start([*command, f"--temp-dir={folder}"])],
            stop,
            is_ready=lambda: True,
            ready=ready,
            ended=lambda number, status, starting: (
                f"ray: its node at {HOST} ended with exit status {status}; see the log"
            ),
            every_s=(WATCH_S, WATCH_S),
            deadline_s=WORKERS_DEADLINE_S,
        )
    finally:
        if extra:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def joined(job: Job) -> Iterator[Callable[[], None]]:
    """The same of a Ray that is there already, of which this machine is a node, once it is this run's turn there.
    CrayfishError if it cannot be joined.

    Its workers run the Python that it was started with: that of this process's environment, on every node.
    """
    import ray

    address, threads = job.processor_address, job.spec.scorer_threads
    variables = {"PYTHONPATH": str(SCRIPTS), "OMP_NUM_THREADS": str(threads)}
    try:
        ray.init(address, logging_level="warning", runtime_env={"env_vars": variables})
    except Exception as error:  # also of no class of its own
        raise CrayfishError(
            f"ray: {address} cannot be joined: {error}\nStart Ray there and on this machine from this environment:"
            f" {Path(sys.executable).with_name('ray')} start --address={address}"
        ) from error
    try:
        turn = _turn(job)  # as long as it is referred to
        yield lambda: None
        del turn
    finally:
        ray.shutdown()


class Turn:
    """Who holds a Ray, by an actor's name that exists once there. It ends with the run, however that ends."""

    def __init__(self, group: str):
        self._group = group

    def holder(self) -> str:
        return self._group


def _turn(job: Job) -> ActorHandle:
    """The actor by which this run has its turn; NotMade if another keeps it."""
    import ray
    from ray.exceptions import RayError

    def holders() -> list[str]:
        try:
            return [ray.get(ray.get_actor(**TURN).holder.remote(), timeout=HOLDER_DEADLINE_S)]
        except (ValueError, RayError):  # there is none, or it has just ended
            return []

    def taken() -> ActorHandle | None:
        try:
            return ray.remote(Turn).options(num_cpus=0, **TURN).remote(job.group)
        except ValueError:  # the name is taken
            return None

    return wait_until(taken, turns.patience_s(job), lambda: turns.refusal(job, holders()), pause_s=turns.PAUSE_S)


def _init(folder: Path, workers: int, deadline_s: float, options: dict) -> None:
    import ray

    end = time.monotonic() + deadline_s
    while True:
        try:
            ray.init(
                "local",
                num_cpus=max(1, min(workers, len(os.sched_getaffinity(0)))),  # how many workers start together
                num_gpus=0,
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=True,
                logging_level="warning",
                _temp_dir=str(folder),
                _node_ip_address=HOST,
                **options,
            )
            return
        except Exception as error:  # "timed out" has Exception for its class; its limit of 30 s cannot be set
            ray.shutdown()
            if "timed out" not in str(error) or time.monotonic() > end:
                raise CrayfishError(f"ray: it does not start in {folder}: {error}") from error


def _check() -> None:
    import ray

    if dead := ray._private.worker._global_node.dead_processes():
        kind, process = dead[0]
        raise CrayfishError(f"ray: its process {kind} ({process.pid}) ended with exit status {process.poll()}")


def reason(error: BaseException) -> str:
    """One line for what an actor's call failed with: the innermost cause that Ray passed on."""
    from ray.exceptions import RayTaskError

    while isinstance(error, RayTaskError):
        error = error.cause
    if isinstance(error, CrayfishError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:6])}"
