"""The machine's free memory, and the refusal to start what needs more. It uses no package: it serves everywhere."""

from __future__ import annotations

import re
from pathlib import Path

from crayfish import discovery
from crayfish.errors import CrayfishError

MEMINFO = Path("/proc/meminfo")


def available() -> int:
    """Bytes that can be used without swapping, as the kernel estimates them."""
    return int(re.search(r"^MemAvailable:\s+(\d+) kB", MEMINFO.read_text(), re.MULTILINE)[1]) * 1024


def require(need: int, what: str, remedy: str = "stop other programs, or use a machine with more") -> None:
    """CrayfishError unless `need` bytes are available."""
    if (free := available()) < need:
        raise CrayfishError(f"{what} needs about {need / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free: {remedy}")


def require_making(model: str, what: str) -> None:
    """The same for the training of a model, or for a conversion of it."""
    require(discovery.load("models", model).MAKING_MEMORY, f"{what} of {model}")
