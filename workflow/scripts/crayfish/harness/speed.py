"""How fast the machine is while it measures: a fixed piece of work, timed now and then; and instructions, by perf.

The same work takes another CPU time whenever other guests of the hardware, its clock or its caches are busier. `speed`
is 1 where the work takes REFERENCE_NS of CPU time, and 2 where it takes half of that.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import time

REFERENCE_NS = 1_000_000
STEPS = 6_000  # of the work, which takes about REFERENCE_NS by the pinned Python on a server's core of 2020
TRIES = 3  # of which the fastest counts: the first one finds cold caches, and any may be interrupted
PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
HARDWARE, INSTRUCTIONS = 0, 1  # perf's type and configuration
INHERIT, USER_ONLY = 1 << 1, 1 << 5 | 1 << 6  # of a counter: children too; neither kernel nor hypervisor


def work() -> int:
    """The fixed piece of work: whole numbers, branches and a table that the first caches hold."""
    state, table = 1, [0] * 1024
    for _ in range(STEPS):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        if state & 8:
            table[state >> 21] += state & 7
    return sum(table)


def measure() -> float:
    """The speed of the core that this thread runs on, just now: about 3 ms of CPU."""
    fastest = None
    for _ in range(TRIES):
        began = time.thread_time_ns()
        work()
        took = time.thread_time_ns() - began
        fastest = took if fastest is None else min(fastest, took)
    return REFERENCE_NS / max(1, fastest or 1)


class Counter:
    """Counts an event of perf, by default instructions in user space, of this process and of all that it starts from
    now on. A context manager; open it before the processes are started, in the thread that starts them.

    `reason` says why it counts nothing: the machine has no such counter, or the kernel does not allow it.
    """

    def __init__(self, kind: int = HARDWARE, event: int = INSTRUCTIONS):
        self._attributes = struct.pack("IIQQQQQIIQ", kind, 64, event, 0, 0, 0, INHERIT | USER_ONLY, 0, 0, 0)
        self._descriptor = -1
        self.reason = ""

    def __enter__(self) -> Counter:
        number = PERF_EVENT_OPEN.get(platform.machine())
        if number is None:
            self.reason = f"perf is not asked on {platform.machine()}"
            return self
        call = ctypes.CDLL(None, use_errno=True).syscall
        close_on_exec = 1 << 3
        self._descriptor = call(
            ctypes.c_long(number),
            ctypes.c_char_p(self._attributes),
            ctypes.c_int(0),
            ctypes.c_int(-1),
            ctypes.c_int(-1),
            ctypes.c_ulong(close_on_exec),
        )
        if self._descriptor < 0:
            self.reason = f"perf counts no instructions here: {os.strerror(ctypes.get_errno())}"
        return self

    def __exit__(self, *error: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def read(self) -> int | None:
        """How many so far; None where it counts nothing."""
        return int.from_bytes(os.read(self._descriptor, 8), "little") if self._descriptor >= 0 else None
