"""What the measurement ran on, and what each stage used of it: hardware, versions, CPU seconds, memory."""

from __future__ import annotations

import os
import platform
import subprocess
import threading
import time
from pathlib import Path

import psutil

from crayfish.engine.child import TAG
from crayfish.harness.stages import STAGE

SAMPLE_S = 0.5
SETTLED_S = 5.0  # a process this young may not have executed its own program yet: its tag can still come
HARNESS = "harness"


def describe() -> dict:
    """Hardware and kernel."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": platform.release(),
        "system": platform.platform(),
        "host": platform.node(),
        "load_average": os.getloadavg(),
    }


def git_state(folder: Path) -> dict:
    """The commit and whether the tree was clean; None where it is not a git checkout."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20)
        except (FileNotFoundError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    status = git("status", "--porcelain")
    return {"commit": git("rev-parse", "HEAD"), "clean": None if status is None else status == ""}


class Sampler(threading.Thread):
    """Samples the CPU seconds of every stage's process tree; and, when told to, its memory as the sum of PSS.

    A stage's processes are found by their tag, so that workers which daemonise count too; what a process that has ended
    had used stays counted as last seen. A context manager: it samples until it is left or finish() is called.
    """

    def __init__(self, tag: str):
        super().__init__(daemon=True)
        self._tag = tag
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._stage_of: dict[psutil.Process, str | None] = {}  # None: of no stage of this run
        self._cpu: dict[psutil.Process, tuple[str, float]] = {}  # stage, seconds
        self._peak: dict[str, int] = {}
        self._times: list[int] = []
        self._series: dict[str, list[float]] = {}
        self._busy: list[float] = []
        self._stolen: list[float] = []

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self.join()

    def _stage(self, process: psutil.Process) -> str | None:
        if process not in self._stage_of:
            if process.pid == os.getpid():
                self._stage_of[process] = HARNESS
            else:
                environment = process.environ()
                stage = environment.get(STAGE) if environment.get(TAG) == self._tag else None
                if stage is None and time.time() - process.create_time() < SETTLED_S:
                    return None
                self._stage_of[process] = stage
        return self._stage_of[process]

    def sample(self, memory: bool = False) -> None:
        """One point of every series."""
        with self._lock:
            self._sample(memory)

    def _sample(self, memory: bool) -> None:
        resident: dict[str, int] = {}
        for process in psutil.process_iter():
            try:
                if (stage := self._stage(process)) is None:
                    continue
                times = process.cpu_times()
                self._cpu[process] = stage, times.user + times.system
                if memory:
                    resident[stage] = resident.get(stage, 0) + process.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        self._times.append(time.time_ns())
        whole = psutil.cpu_times()
        self._busy.append(whole.user + whole.nice + whole.system + whole.irq + whole.softirq)
        self._stolen.append(whole.steal)
        totals: dict[str, float] = {}
        for stage, seconds in self._cpu.values():
            totals[stage] = totals.get(stage, 0.0) + seconds
        for stage, seconds in totals.items():
            series = self._series.setdefault(stage, [0.0] * (len(self._times) - 1))
            series.append(seconds)
        for stage, size in resident.items():
            self._peak[stage] = max(self._peak.get(stage, 0), size)

    def run(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            self.sample()

    def measure_memory(self) -> None:
        """Note the memory of every stage. It stalls a large process for 100 ms: never call it in a measured window."""
        self.sample(memory=True)

    def finish(self) -> dict:
        """Stop, and the series: {"stages": {name: {time_ns, cpu_s (cumulative), pss_bytes_peak}}, "machine": {...}}.

        machine: time_ns, and cumulative cpu_s (all processes) and stolen_s (what the hypervisor withheld).
        """
        self.__exit__()
        self.sample()
        stages = {
            name: {"time_ns": self._times, "cpu_s": series, "pss_bytes_peak": self._peak.get(name)}
            for name, series in self._series.items()
        }
        return {"stages": stages, "machine": {"time_ns": self._times, "cpu_s": self._busy, "stolen_s": self._stolen}}
