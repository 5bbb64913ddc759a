"""Names of which a machine has one each: who holds one does what only one process may do at a time.

A name is a socket's in the kernel's own name space. There is no file: it belongs to no user and no folder, no link
leads it elsewhere, and it is free as soon as the process that holds it, and all that inherited it, have ended.
Containers whose network is their own do not see each other's.
"""

from __future__ import annotations

import errno
import pwd
import socket
import struct
from collections.abc import Callable

from crayfish.spec.errors import CrayfishError, NotMade
from crayfish.spec.waiting import wait_until

MEASURES = "crayfish-measures"  # held by the run that measures on a machine
MAKES = "crayfish-makes-a-large-model"
PAUSE_S = 0.1  # nobody tells that a name is free again
CREDENTIALS = struct.Struct("3i")  # process, user, group


def lock(name: str, deadline_s: float, refusal: Callable[[str], str]) -> int:
    """Hold a name, and return the descriptor that holds it until it and its copies in other processes are closed.

    Raises CrayfishError with refusal("process PID of USER") if another process still holds it after deadline_s.
    """
    held = socket.socket(socket.AF_UNIX)

    def taken() -> bool:
        try:
            held.bind(f"\0{name}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        held.listen(1)  # so that others can ask whose it is
        return True

    def refused() -> CrayfishError:
        return NotMade(refusal(holder(name)))

    try:
        wait_until(taken, deadline_s, refused, pause_s=PAUSE_S)
    except BaseException:
        held.close()
        raise
    return held.detach()


def holder(name: str) -> str:
    """Who holds a name: "process PID of USER", or that it is not known."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.setblocking(False)
        try:
            asking.connect(f"\0{name}")
        except OSError:  # it has just been let go, or too many ask
            return "a process that does not answer"
        process, user = peer(asking)
    try:
        return f"process {process} of {pwd.getpwuid(user).pw_name}"
    except KeyError:  # as in containers
        return f"process {process} of user {user}"


def peer(connection: socket.socket) -> tuple[int, int]:
    """The process and the user at the other end of a Unix socket, as the kernel knows them."""
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    process, user, _ = CREDENTIALS.unpack(told)
    return process, user
