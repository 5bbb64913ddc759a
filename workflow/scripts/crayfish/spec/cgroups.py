"""What the control groups of this process leave it, versions 1 and 2 alike: memory, CPU, and what was throttled.

A limit holds for a group and all that are in it, so each function looks at every group from this process's own up to
the topmost that can be seen. `root` is where /proc and /sys lie. Without control groups there is no limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
UNLIMITED = 2**60  # bytes; version 1 writes "no limit" as the largest multiple of a page


def groups(controller: str, root: Path) -> Iterator[tuple[Path, int]]:
    """The folder of every group that holds this process, its own first, and the version: 1 or 2."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mounts = root / "sys/fs/cgroup"
    for line in lines:
        number, controllers, name = line.split(":", 2)
        if controller in controllers.split(","):
            top, version = mounts / controller, 1
        elif (number, controllers) == ("0", ""):
            top, version = mounts, 2
        else:
            continue
        own = top / name.lstrip("/")
        for folder in (own, *own.parents):
            if folder.is_dir():  # a container may see its own groups at the top, under a name of the host's
                yield folder, version
            if folder == top:
                break


def _number(path: Path) -> int | None:
    """The whole number in a file; None where there is none, as in "max"."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _table(path: Path) -> dict[str, int]:
    """A file with a name and a whole number a line; empty where there is none."""
    try:
        return {name: int(value) for name, value in (line.split() for line in path.read_text().splitlines())}
    except (OSError, ValueError):
        return {}


def memory_left(root: Path = ROOT) -> int | None:
    """Bytes that the groups leave this process: the limit less what is used and cannot be dropped as a file's cache.

    None without a limit.
    """
    left = []
    for folder, version in groups("memory", root):
        names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        limit, used = (_number(folder / name) for name in names)
        if limit is None or used is None or limit >= UNLIMITED:
            continue
        about, whole = _table(folder / "memory.stat"), "" if version == 2 else "total_"
        files = about.get(f"{whole}inactive_file", 0) + about.get(f"{whole}active_file", 0)
        left.append(max(0, limit - max(0, used - files)))
    return min(left, default=None)


def cpu_limit(root: Path = ROOT) -> float | None:
    """How many cores the groups' quotas allow at once; None without a quota. A cpuset shows in the affinity instead."""
    quotas = []
    for folder, version in groups("cpu", root):
        if version == 2:
            try:
                quota, period = (folder / "cpu.max").read_text().split()
            except (OSError, ValueError):
                continue
            if quota != "max":
                quotas.append(int(quota) / int(period))
        else:
            allowed, of = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
            if allowed and of and allowed > 0:
                quotas.append(allowed / of)
    return min(quotas, default=None)


def throttled_s(root: Path = ROOT) -> float:
    """How long the quotas have kept threads of the groups from running so far, in seconds of a core."""
    withheld = [0.0]
    for folder, _ in groups("cpu", root):
        about = _table(folder / "cpu.stat")
        withheld.append(about.get("throttled_usec", 0) / 1e6 + about.get("throttled_time", 0) / 1e9)
    return max(withheld)
