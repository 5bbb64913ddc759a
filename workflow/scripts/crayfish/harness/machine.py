"""What the measurement ran on, what it did meanwhile (speed, clock, cores lost), and what each stage used of it."""

from __future__ import annotations

import os
import platform
import subprocess
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import psutil

from crayfish.engine.child import TAG
from crayfish.harness import clocks, speed
from crayfish.harness.stages import HARNESS, STAGE
from crayfish.spec import cgroups, slurm

SAMPLE_S = 0.5
SPEED_EVERY = 4  # samples: 3 ms of CPU in 2 s
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # namespaces and SLURM's nodes of one machine have one
SETTLED_S = 5.0  # a process this young may not have executed its own program yet: its tag can still come


def usable_cores(cpus: Collection[int], root: Path = cgroups.ROOT) -> float:
    """How many cores the run can use at once: its affinity's, or those of a control group's quota or of SLURM's job."""
    limits = (cgroups.cpu_limit(root), slurm.cpus())
    return min([len(cpus), *(round(limit, 2) for limit in limits if limit is not None)])


def describe() -> dict:
    """Hardware and kernel, and what of it the run may use."""
    cpus = sorted(os.sched_getaffinity(0))
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {
        "cpu": cpu,
        "cores": usable_cores(cpus),
        "cpus": cpus,
        "cpu_limit": cgroups.cpu_limit(),
        "memory_bytes": psutil.virtual_memory().total,
        "memory_left_by_cgroups_bytes": cgroups.memory_left(),
        "memory_of_slurm_bytes": slurm.memory(),
        "slurm": slurm.job(),
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


def resident_peak(pid: int) -> int:
    """The most memory that a process has had resident at once, bytes, as the kernel notes it (VmHWM); 0 without any."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def forget_resident_peak(pid: int) -> None:
    """Let the kernel count a process's peak from now on."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    except OSError:
        return  # its peak then includes what was before


class Sampler(threading.Thread):
    """Samples the CPU seconds of every stage's process tree and its peak of resident memory, and the machine's speed,
    clock and lost cores; and, when told to, each stage's memory as the sum of PSS.

    A stage's processes are found by their tag, so that workers which daemonise count too; what a process that has ended
    had used stays counted as last seen. A context manager: it samples until it is left or finish() is called.
    """

    def __init__(self, tag: str, anchor_ns: int, cpus: Collection[int], counter: speed.Counter | None = None):
        """anchor_ns: makes the run's clock of the monotonic one (crayfish.harness.clocks), which its times are by.
        cpus: those of the run: it loses nothing if others use other ones."""
        super().__init__(daemon=True)
        self._tag, self._anchor_ns, self._cpus, self._counter = tag, anchor_ns, sorted(cpus), counter
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._stage_of: dict[psutil.Process, str | None] = {}  # None: of no stage of this run
        self._cpu: dict[psutil.Process, tuple[str, float]] = {}  # stage, seconds
        self._used_before: dict[psutil.Process, float] = {}  # seconds that one had used when it was adopted
        self._pss: dict[str, int] = {}
        self._peak: dict[str, int] = {}
        self._speed: dict[str, list] = {"time_ns": [], "relative": []}
        self._anchors: list[int] = []
        self._throttled: list[float] = []
        self._instructions: list[int] = []
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

    def adopt(self, pid: int, stage: str) -> None:
        """Count a process that outlives the run, and so does not bear its tag, as this stage, from now on."""
        process = psutil.Process(pid)
        times = process.cpu_times()
        forget_resident_peak(pid)
        with self._lock:
            self._stage_of[process], self._used_before[process] = stage, times.user + times.system

    def sample(self, memory: bool = False) -> None:
        """One point of every series."""
        with self._lock:
            self._sample(memory)

    def _now_ns(self) -> int:
        return time.monotonic_ns() + self._anchor_ns

    def _sample(self, memory: bool) -> None:
        peaks: dict[str, int] = {}
        shared: dict[str, int] = {}
        thorough = memory or len(self._times) % SPEED_EVERY == 0
        for process in psutil.process_iter():
            try:
                if (stage := self._stage(process)) is None:
                    continue
                times = process.cpu_times()
                self._cpu[process] = stage, times.user + times.system - self._used_before.get(process, 0.0)
                if thorough:
                    peaks[stage] = peaks.get(stage, 0) + resident_peak(process.pid)
                if memory:
                    shared[stage] = shared.get(stage, 0) + process.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        self._sample_machine()
        totals: dict[str, float] = {}
        for stage, seconds in self._cpu.values():
            totals[stage] = totals.get(stage, 0.0) + seconds
        for stage, seconds in totals.items():
            series = self._series.setdefault(stage, [0.0] * (len(self._times) - 1))
            series.append(seconds)
        for found, most in ((shared, self._pss), (peaks, self._peak)):
            for stage, size in found.items():
                most[stage] = max(most.get(stage, 0), size)

    def _sample_machine(self) -> None:
        self._times.append(self._now_ns())
        self._anchors.append(clocks.anchor())
        whole = psutil.cpu_times(percpu=True)
        own = [whole[cpu] for cpu in self._cpus if cpu < len(whole)]
        self._busy.append(sum(one.user + one.nice + one.system + one.irq + one.softirq for one in own))
        self._stolen.append(sum(one.steal for one in own))
        self._throttled.append(cgroups.throttled_s())
        if self._counter and (count := self._counter.read()) is not None:
            self._instructions.append(count)

    def measure_speed(self) -> None:
        """Time the fixed piece of work once, in the thread that calls."""
        relative = speed.measure()
        with self._lock:
            self._speed["time_ns"].append(self._now_ns())
            self._speed["relative"].append(relative)

    def run(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            self.sample()
            if len(self._times) % SPEED_EVERY == 0:
                self.measure_speed()

    def measure_memory(self) -> None:
        """Note the memory of every stage. It stalls a large process for 100 ms: never call it in a measured window."""
        self.sample(memory=True)

    def finish(self) -> dict:
        """Stop, and the series: {"stages": {name: {time_ns, cpu_s, pss_bytes, rss_bytes_peak}}, "machine": {...}}.

        stages: cpu_s is cumulative; pss_bytes the largest that measure_memory found (None: never called);
        rss_bytes_peak the largest sum of what each process alive at once has had resident at most, which counts pages
        that several of them share several times.
        machine: boot_id, by which machines differ, time_ns, and cumulative cpu_s (all processes), stolen_s (what the
        hypervisor withheld), throttled_s (what a control group's quota withheld) and instructions (empty where they are
        not counted); anchor_ns, the wall clock minus the monotonic one, and first_anchor_ns, that of the run; speed:
        time_ns and relative.
        """
        self.__exit__()
        self.sample()
        stages = {
            name: {
                "time_ns": self._times,
                "cpu_s": series,
                "pss_bytes": self._pss.get(name),
                "rss_bytes_peak": self._peak.get(name),
            }
            for name, series in self._series.items()
        }
        counted = len(self._instructions) == len(self._times)
        machine = {
            "boot_id": BOOT_ID.read_text().strip(),
            "time_ns": self._times,
            "cpu_s": self._busy,
            "stolen_s": self._stolen,
            "throttled_s": self._throttled,
            "instructions": self._instructions if counted else [],
            "anchor_ns": self._anchors,
            "first_anchor_ns": self._anchor_ns,
            "speed": self._speed,
        }
        return {"stages": stages, "machine": machine}


def merged(samples: dict, ended: Sequence[dict]) -> dict:
    """The samples of the run's machine with those of stages on other nodes, at the times of the former.

    ended: the last line of each supervisor, with shift_ns, by how much this machine's clock is ahead of its node's.
    What a stage used on this machine alone is its cpu_here_s.
    """
    if not ended:
        return samples
    stages, times = samples["stages"], np.array(samples["machine"]["time_ns"])
    for stage in stages.values():
        stage["cpu_here_s"] = stage["cpu_s"]
    for told in ended:
        at, here_too = _times_of(told), _boot_id(told["samples"]) == _boot_id(samples)
        for name, there in told["samples"]["stages"].items():
            none = [0.0] * len(times)
            here = stages.setdefault(
                name, {"time_ns": samples["machine"]["time_ns"], "cpu_s": none, "cpu_here_s": none}
            )
            used = np.interp(times, at, there["cpu_s"])
            for series in ("cpu_s", "cpu_here_s") if here_too else ("cpu_s",):
                here[series] = (np.array(here[series]) + used).tolist()
            for size in ("pss_bytes", "rss_bytes_peak"):
                sizes = [each for each in (here.get(size), there[size]) if each is not None]
                here[size] = sum(sizes) if sizes else None
    return samples


def elsewhere(samples: dict, ended: Sequence[dict]) -> dict[int, dict]:
    """Node -> samples as finish() returns them, by this machine's clock, for each machine that is not this one.

    samples: this machine's; ended: as above, with `node`. Several nodes that are one machine are called by the first.
    """
    found: dict[str, tuple[int, dict]] = {}
    for told in ended:
        at, there = _times_of(told), told["samples"]
        if (machine := _boot_id(there)) == _boot_id(samples):
            continue
        _, known = found.setdefault(
            machine, (told["node"], {"stages": {}, "machine": there["machine"] | {"time_ns": at}})
        )
        for name, stage in there["stages"].items():
            used = np.interp(known["machine"]["time_ns"], at, stage["cpu_s"])
            known["stages"][f"{name} {len(known['stages'])}"] = {"cpu_s": used}
    return dict(found.values())


def _times_of(told: dict) -> np.ndarray:
    return np.array(told["samples"]["machine"]["time_ns"]) + told["shift_ns"]


def _boot_id(samples: dict) -> str:
    return samples["machine"]["boot_id"]
