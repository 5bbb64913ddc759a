"""What a run's samples (processor.json) say of a part of its time: cores lost, the machine's speed, its clock."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

CLOCK_STEP_MS = 1.0  # of the wall clock: more than that shows in append times


def increase(times_ns: np.ndarray, values: list[float], start_ns: int, end_ns: int) -> float:
    """By how much a cumulative series has grown from start to end, linear between its samples."""
    first, last = np.interp([start_ns, end_ns], times_ns, values)
    return float(last - first)


def machine_during(samples: dict, start_ns: int, end_ns: int) -> dict[str, float | None]:
    """What the machine did from start to end, by the run's clock.

    samples: what crayfish.harness.machine.Sampler.finish returns, and of a run on GPUs their series as `gpus`; an older
    run's lack some of it. All are None where the time is empty or was not sampled.
        speed             median of the fixed piece of work, 1 is the reference (crayfish.harness.speed)
        other_cores       that other processes used, of the CPUs that the run may use
        stolen_cores      that the hypervisor withheld
        throttled_cores   that a control group's quota withheld
        instructions      in user space, of the whole run
        clock_step_ms     how far the wall clock was at most from where it stood when the run began
    and of a run on GPUs
        gpu_utilisation   share of the time in which a kernel ran, mean of the GPUs
        gpu_memory_bytes  that was used at most, whoever's, sum of the GPUs
        gpu_clock_mhz     median of the clock of the multiprocessors, lowest of the GPUs
    """
    names = ("speed", "other_cores", "stolen_cores", "throttled_cores", "instructions", "clock_step_ms")
    found: dict[str, float | None] = dict.fromkeys(names)
    if gpus := samples.get("gpus"):
        found |= gpus_during(gpus, start_ns, end_ns)
    machine = samples["machine"]
    times = np.array(machine["time_ns"])
    if len(times) < 2 or end_ns <= start_ns:
        return found
    seconds = (end_ns - start_ns) / 1e9

    def cores(series: list[float]) -> float:
        return increase(times, series, start_ns, end_ns) / seconds

    if "stolen_s" in machine:
        own = sum(cores(stage.get("cpu_here_s", stage["cpu_s"])) for stage in samples["stages"].values())
        found |= {"other_cores": cores(machine["cpu_s"]) - own, "stolen_cores": cores(machine["stolen_s"])}
    if "throttled_s" in machine:
        found["throttled_cores"] = cores(machine["throttled_s"])
    if machine.get("instructions"):
        found["instructions"] = increase(times, machine["instructions"], start_ns, end_ns)
    if speed := machine.get("speed"):
        at, values = np.array(speed["time_ns"]), np.array(speed["relative"])
        inside = values[around(at, start_ns, end_ns)]
        found["speed"] = float(np.median(inside)) if len(inside) else None
    if anchors := machine.get("anchor_ns"):
        steps = np.array(anchors)[around(times, start_ns, end_ns)] - machine["first_anchor_ns"]
        found["clock_step_ms"] = float(steps[np.argmax(np.abs(steps))]) / 1e6
    return found


def gpus_during(gpus: list[dict], start_ns: int, end_ns: int) -> dict[str, float | None]:
    """What the GPUs of a run did from start to end; None where nothing was sampled."""

    def inside(name: str, summed: Callable[[list[float]], float]) -> list[float]:
        own = []
        for series in gpus:
            at = np.array(series["time_ns"])
            values = [value for value in series[name][around(at, start_ns, end_ns)] if value is not None]
            own += [summed(values)] if values and end_ns > start_ns else []
        return own

    used, memory, clocks = inside("utilisation", np.mean), inside("memory_bytes", max), inside("clock_mhz", np.median)
    return {
        "gpu_utilisation": float(np.mean(used)) if used else None,
        "gpu_memory_bytes": float(sum(memory)) if memory else None,
        "gpu_clock_mhz": float(min(clocks)) if clocks else None,
    }


def around(times_ns: np.ndarray, start_ns: int, end_ns: int) -> slice:
    """The samples from start to end, with the one before and the one after."""
    first, last = np.searchsorted(times_ns, [start_ns, end_ns])
    return slice(max(0, int(first) - 1), int(last) + 1)
