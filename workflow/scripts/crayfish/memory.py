"""The machine's free memory, and the refusal to start what needs more. It uses no package: it serves everywhere."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from pathlib import Path

from crayfish import discovery
from crayfish.errors import CrayfishError

MEMINFO = Path("/proc/meminfo")
SMALL = 2**30  # what needs no more may run beside others


def available() -> int:
    """Bytes that can be used without swapping, as the kernel estimates them."""
    return int(re.search(r"^MemAvailable:\s+(\d+) kB", MEMINFO.read_text(), re.MULTILINE)[1]) * 1024


def require(need: int, what: str, remedy: str = "stop other programs, or use a machine with more") -> None:
    """CrayfishError unless `need` bytes are available."""
    if (free := available()) < need:
        raise CrayfishError(f"{what} needs about {need / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free: {remedy}")


def require_making(model: str, what: str) -> None:
    """The same for the training or a conversion of a model: a large one waits until the others have ended."""
    need = discovery.load("models", model).MAKING_MEMORY
    if need > SMALL:
        lock = os.open(Path(tempfile.gettempdir(), f"crayfish-making-{os.getuid()}.lock"), os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)  # until this process ends
    require(need, f"{what} of {model}")
