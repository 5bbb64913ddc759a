"""What the servers that are programs of their own share: start one, ask it until it is ready, watch it, stop it.

The program dies with this process, however that ends. It is stopped by SIGTERM, and killed if it does not end in time.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from crayfish.engine import child
from crayfish.engine.child import HOST
from crayfish.spec.errors import CrayfishError

if TYPE_CHECKING:
    from crayfish.spec.run_spec import Job

ASK_DEADLINE_S = 2.0
ASK_EVERY_S, WATCH_EVERY_S = 0.05, 0.2
STOP_DEADLINE_S = 10.0


def ports(job: Job, count: int) -> list[int]:
    """Free ports of the loopback, all different; the first is the job's, where it tells one."""
    found = child.free_ports(count)
    return [int(job.server_address.rpartition(":")[2]), *found[1:]] if job.server_address else found


def get(port: int, path: str, **headers: str) -> bytes | None:
    """What the loopback's HTTP port answers, None if it does not (yet) or not with status 200. No proxy is asked."""
    connection = http.client.HTTPConnection(HOST, port, timeout=ASK_DEADLINE_S)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.read() if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def serve(
    job: Job,
    command: list[str],
    is_ready: Callable[[], bool],
    ready: Callable[[], None],
    stop: threading.Event,
    environment: dict[str, str] | None = None,
    stopping: Callable[[], None] = lambda: None,
) -> None:
    """Run the program in the job's scratch folder until `stop` is set; CrayfishError if it ends by itself.

    stopping: called once `stop` is set, while the program still answers.
    """
    try:
        program = child.start(
            command,
            cwd=job.workdir,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,  # never written: it ends when this process does
        )
    except OSError as error:
        raise CrayfishError(f"{job.spec.scorer}: {command[0]} cannot be started: {error}") from error

    def ended(number: int, status: int, starting: bool) -> str:
        how = f"did not start with the model {job.model_path}" if starting else "died"
        return (
            f"{job.spec.scorer}: the server {how}: {command[0]} ended with exit status {status};"
            " what it said stands above in this log"
        )

    child.watch(
        [program],
        stop,
        is_ready=is_ready,
        ready=ready,
        stopping=stopping,
        ended=ended,
        every_s=(ASK_EVERY_S, WATCH_EVERY_S),
        deadline_s=STOP_DEADLINE_S,
    )
