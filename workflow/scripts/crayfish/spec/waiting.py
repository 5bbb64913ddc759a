"""The one way to wait for something that nobody announces: ask again until it holds, a process died or time is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PAUSE_S = 0.02


class Deadline:
    """A time limit, counted from now; whoever sees progress may extend it."""

    def __init__(self, seconds: float):
        self.extend(seconds)

    def extend(self, seconds: float) -> None:
        """Let it end this many seconds from now."""
        self.seconds, self._end = seconds, time.monotonic() + seconds

    @property
    def passed(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self._end


def wait_until(
    condition: Callable[[], T],
    deadline: Deadline | float,
    error: Callable[[], Exception] | None = None,
    watch: Callable[[], object] | None = None,
    pause_s: float = PAUSE_S,
) -> T:
    """Ask until `condition` returns something true, and return that.

    deadline: in seconds, or one that the condition extends. `watch` is called after each try that failed, and raises
    where waiting has become useless. After the deadline what `error` makes is raised; without it the condition's last
    answer is returned. A condition that itself blocks for a moment takes pause_s 0.
    """
    deadline = deadline if isinstance(deadline, Deadline) else Deadline(deadline)
    while not (found := condition()):
        if watch:
            watch()
        if deadline.passed:
            if error:
                raise error()
            break
        time.sleep(pause_s)
    return found
