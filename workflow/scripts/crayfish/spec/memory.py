"""The memory that is free, and the refusal to start what needs more. It uses no package: it serves everywhere."""

from __future__ import annotations

import os
from pathlib import Path

from crayfish.spec import cgroups, discovery, slurm
from crayfish.spec.errors import CrayfishError
from crayfish.spec.locks import MAKES, lock

MEMINFO = "proc/meminfo"
TURN_DEADLINE_S = 900.0
SMALL = 2**30  # what needs no more may run beside others


def available(root: Path = cgroups.ROOT) -> int:
    """Bytes that can be used without swapping, as the kernel estimates them, and within what control groups and SLURM
    leave."""
    lines = dict(line.split(":", 1) for line in (root / MEMINFO).read_text().splitlines())
    free = int(lines["MemAvailable"].removesuffix("kB")) * 1024
    return min(limit for limit in (free, cgroups.memory_left(root), slurm.memory()) if limit is not None)


def require(need: int, what: str, remedy: str = "stop other programs, or use a machine with more") -> None:
    """CrayfishError unless `need` bytes are available."""
    if (free := available()) < need:
        raise CrayfishError(f"{what} needs about {need / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free: {remedy}")


def require_making(model: str, what: str) -> None:
    """The same for the training or a conversion of a model: a large one first waits until no other is being made.

    The others wait until this process ends.
    """
    need = discovery.model(model).making_memory
    if need <= SMALL:
        require(need, f"{what} of {model}")
        return
    turn = lock(
        MAKES,
        TURN_DEADLINE_S,
        lambda holder: (
            f"{what} of {model} has waited {TURN_DEADLINE_S:g} s for another large model, which {holder} makes: wait"
            " for it or stop it, then repeat the command"
        ),
    )
    try:
        require(need, f"{what} of {model}")
    except CrayfishError:
        os.close(turn)
        raise
