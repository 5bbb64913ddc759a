"""Which cores a run's processes have: with run.cores, processor and server have their own, all others the rest.

A core is a physical one, with all of its hardware threads (CPUs in the kernel's words). A process hands its affinity
on to whatever it starts, threads too, so that JVMs and libraries count only the cores that they have.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from crayfish.spec.errors import CrayfishError, NotMade

ROOT = Path("/")
PASSES = 20  # over the threads of a process tree that starts more of them meanwhile


@dataclass(frozen=True)
class Division:
    """The CPUs of processor and server, and those of broker, generator, sink and harness; the same ones if shared."""

    tested: tuple[int, ...]
    measuring: tuple[int, ...]


def _cpus(text: str) -> list[int]:
    """The kernel's list of CPUs, "0-2,5", as numbers."""
    ends = (part.partition("-") for part in text.strip().split(",") if part)
    return [number for first, _, last in ends for number in range(int(first), int(last or first) + 1)]


def physical(cpus: Collection[int], root: Path = ROOT) -> list[tuple[int, ...]]:
    """These CPUs, apart by the physical core that they are threads of."""
    found = set()
    for cpu in cpus:
        try:
            text = (root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
        except OSError:
            text = str(cpu)
        found.add(tuple(sibling for sibling in _cpus(text) if sibling in cpus) or (cpu,))
    return sorted(found)


def divide(wanted: int, cpus: Collection[int], root: Path = ROOT) -> Division:
    """`wanted` of the cores for processor and server alone, the last ones, as the first ones serve most interrupts; the
    others for the measuring system. 0: all share all. NotMade where none would be left for that.
    """
    if not wanted:
        return Division(tuple(sorted(cpus)), tuple(sorted(cpus)))
    cores = physical(cpus, root)
    if wanted >= len(cores):
        allowed = f"0 to {len(cores) - 1}" if len(cores) > 1 else "0"
        raise NotMade(
            f"run.cores: {wanted} cores for the processor alone leave none for broker, generator and sink: this machine"
            f" has {len(cores)} ({len(cpus)} CPUs) for the run; allowed: {allowed}"
        )
    measuring, tested = cores[:-wanted], cores[-wanted:]
    return Division(*(tuple(sorted(cpu for core in part for cpu in core)) for part in (tested, measuring)))


@contextmanager
def on(cpus: Collection[int]) -> Iterator[None]:
    """While open, this thread and what it starts have these CPUs; those that it has started keep them."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def pin(pid: int, cpus: Collection[int]) -> None:
    """Move a process, all of its threads and all of its descendants to these CPUs.

    Raises CrayfishError if that process is not there, or starts threads faster than they can be moved.
    """
    import psutil  # which the processors' environments lack

    wanted = set(cpus)
    try:
        top = psutil.Process(pid)
        for _ in range(PASSES):
            moved = 0
            for process in (top, *top.children(recursive=True)):
                try:
                    threads = [int(each.name) for each in Path(f"/proc/{process.pid}/task").iterdir()]
                except (FileNotFoundError, ProcessLookupError):
                    continue
                for thread in threads:
                    try:
                        if os.sched_getaffinity(thread) != wanted:
                            os.sched_setaffinity(thread, wanted)
                            moved += 1
                    except ProcessLookupError:
                        continue
            if not moved:
                return
    except psutil.NoSuchProcess as error:
        raise CrayfishError(f"process {pid} cannot be moved to CPUs {sorted(wanted)}: it has ended") from error
    raise CrayfishError(f"process {pid} starts threads faster than they can be moved to CPUs {sorted(wanted)}")
