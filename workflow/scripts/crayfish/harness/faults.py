"""What a run does to one of its parts while it measures (run.fault), and what came of it.

kill     every process of the part ends by SIGKILL, as where its machine dies. The harness starts the processor again,
         with the same job, group and folder; the server, as with every on_server_failure: retry. A broker stays dead.
pause    every process of the part stands still for LENGTH_S.
cut      every connection between the processor and the brokers is aborted, and none is taken for LENGTH_S.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

import psutil

from crayfish.harness import stages

if TYPE_CHECKING:
    from crayfish.harness.run import Run

LENGTH_S = 5.0
FREEZES = 3  # looks for processes of a part that is paused: they may start others meanwhile


class Fault:
    """The fault of a run, a part that does it when its time comes: `strike_at`, ns of the run's clock.

    `about`: what was done and when; after how long the harness had noticed (detected_s) and its part was up again
    (restarted_s), where it is the harness that does.
    """

    def __init__(self, run: Run):
        self._run = run
        self.strike_at: int | None = None
        self._struck_s: float | None = None
        self._mend: Callable[[], object] | None = None
        self.about: dict = {"what": run.spec.fault, "at_ns": None, "detected_s": None, "restarted_s": None}

    def __enter__(self) -> Fault:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._mend:
            self._mend()

    def check(self) -> None:
        """Strike, and mend, when the time has come."""
        now_ns = time.monotonic_ns() + self._run.anchor_ns
        if self._struck_s is None and self.strike_at is not None and now_ns >= self.strike_at:
            self.about["at_ns"], self._struck_s = now_ns, time.monotonic()
            what, _, part = self._run.spec.fault.partition("_")
            {"kill": self._kill, "pause": self._pause, "cut": self._cut}[what](part)
        elif self._mend and self._struck_s is not None and time.monotonic() >= self._struck_s + LENGTH_S:
            self._mend()
            self._mend = None

    def notice(self, what: str) -> None:
        """Note how long after the strike this was, the first time: "detected_s" or "restarted_s"."""
        if self._struck_s is not None and self.about[what] is None:
            self.about[what] = round(time.monotonic() - self._struck_s, 3)

    def _kill(self, part: str) -> None:
        if part == "broker":
            self._run.broker.kill_last()
        else:
            stages.sweep(self._run.tag, part)

    def _pause(self, part: str) -> None:
        stopped: dict[int, psutil.Process] = {}
        for _ in range(FREEZES):
            for process in self._run.broker.last() if part == "broker" else stages.tagged(self._run.tag, part):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.suspend()
                    stopped[process.pid] = process

        def go_on() -> None:
            for process in stopped.values():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

        self._mend = go_on

    def _cut(self, part: str) -> None:
        assert self._run.proxy is not None  # opened with the brokers, where the spec asks for this
        self._run.proxy.send(cut_s=LENGTH_S)
