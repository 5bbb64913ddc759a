"""Files that are locked while a process does what only one may do at a time on this machine."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from crayfish.spec.errors import CrayfishError, NotMade
from crayfish.spec.waiting import wait_until

PAUSE_S = 0.1  # flock has no wait with a deadline


def lock(path: Path, deadline_s: float, refusal: Callable[[str], str]) -> int:
    """Lock a file, and return the descriptor that holds the lock until it and its copies in other processes are closed.

    Raises CrayfishError with refusal("process PID") if another process still holds it after deadline_s.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)  # O_CREAT would be refused for another user's file in a sticky folder
    except FileNotFoundError:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def taken() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def refused() -> CrayfishError:
        return NotMade(refusal(os.pread(descriptor, 200, 0).decode(errors="replace").strip()))

    try:
        wait_until(taken, deadline_s, refused, pause_s=PAUSE_S)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}".encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
