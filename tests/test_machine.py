"""What the sampler sees of real processes and of this machine, and what is made of it."""

import os
import subprocess
import sys
import uuid

import psutil
import pytest

from crayfish.engine.child import TAG
from crayfish.harness import clocks, health, machine, speed
from crayfish.harness.stages import STAGE
from crayfish.spec.samples import machine_during

PERF_SOFTWARE, TASK_CLOCK = 1, 1
MIB = 2**20
# Takes 200 MiB, gives them back, and says so.
PROGRAM = "a = bytearray(200 << 20); a[::4096] = b'x' * len(a[::4096]); del a; print(1, flush=True); input()"


@pytest.fixture
def part():
    """A process of a run, after it has given memory back; and the run's tag."""
    tag = uuid.uuid4().hex
    environment = {**os.environ, TAG: tag, STAGE: "processor"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, **pipes) as process:
        assert process.stdout.readline()
        yield process, tag
        process.kill()


def sampler(tag: str, counter=None) -> machine.Sampler:
    return machine.Sampler(tag, clocks.anchor(), os.sched_getaffinity(0), counter)


def test_a_peak_between_two_samples_is_seen(part):
    _, tag = part
    with sampler(tag) as found:
        found.measure_memory()
        stage = found.finish()["stages"]["processor"]
    assert stage["rss_bytes_peak"] > 200 * MIB > stage["pss_bytes"] > 0


def test_a_process_that_lives_on_is_counted_from_when_it_was_adopted(part):
    process, _ = part
    with sampler(uuid.uuid4().hex) as found:
        found.adopt(process.pid, "broker")
        found.measure_memory()
        stage = found.finish()["stages"]["broker"]
    assert 0 < stage["rss_bytes_peak"] < 200 * MIB
    assert stage["cpu_s"][-1] < sum(psutil.Process(process.pid).cpu_times()[:2])


def test_the_machine_is_sampled_with_its_clock_and_its_speed():
    with sampler("none") as found:
        found.measure_speed()
        found.sample()
        samples = found.finish()
    times = samples["machine"]["time_ns"]
    assert len(samples["machine"]["anchor_ns"]) == len(samples["machine"]["throttled_s"]) == len(times)
    during = machine_during(samples, times[0], times[-1])
    assert during["speed"] > 0 and during["stolen_cores"] >= 0 and abs(during["clock_step_ms"]) < 1000


def test_the_speed_is_the_median_of_what_was_measured_in_the_window_and_just_around_it():
    times = [number * 10**9 for number in range(10)]
    series = {"time_ns": times, "cpu_s": [0.5 * number for number in range(10)], "stolen_s": [0.0] * 10}
    speeds = {"time_ns": times, "relative": [9, 9, 9, 1.0, 1.1, 1.2, 9, 9, 9, 9]}
    samples = {"stages": {"processor": {"cpu_s": [0.25 * number for number in range(10)]}}, "machine": series}
    assert machine_during(samples, 3 * 10**9, 5 * 10**9)["speed"] is None  # an older run has none
    series["speed"] = speeds
    during = machine_during(samples, 4 * 10**9, 4 * 10**9 + 1)
    assert during["speed"] == pytest.approx(1.1) and during["other_cores"] == pytest.approx(0.25)


def test_what_a_quota_withheld_is_warned_of():
    series = {"time_ns": [0, 10**9], "cpu_s": [0.0, 0.0], "stolen_s": [0.0, 0.0], "throttled_s": [1.0, 1.2]}
    segment = {"load_start_ns": 0, "end_ns": 10**9}
    assert health.lost_cores_warnings({"stages": {}, "machine": series}, {0: segment}) == [
        "segment 1: the CPU quota of a control group withheld 0.20 cores while it was measured"
    ]


def test_the_speed_of_the_same_work_is_the_reference_over_its_cpu_time():
    assert speed.work() == speed.work()
    assert speed.measure() > 0


def test_a_counter_counts_this_process_and_what_it_starts():
    with speed.Counter(PERF_SOFTWARE, TASK_CLOCK) as counter:
        if counter.reason:
            pytest.skip(counter.reason)
        before = counter.read()
        subprocess.run([sys.executable, "-c", "sum(range(10**6))"], check=True, timeout=60)
        assert counter.read() > before


def test_instructions_are_counted_or_the_reason_is_told():
    with speed.Counter() as counter:
        count = counter.read()
    assert (count is None) == bool(counter.reason)
