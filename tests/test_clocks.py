"""The wall clock's steps, and how far a broker's clock is from this machine's."""

import os
import subprocess
import sys

import numpy as np
import pytest

from crayfish.engine import jvm
from crayfish.engine.child import SCRIPTS
from crayfish.harness import broker, clocks, health
from crayfish.results import outcomes
from crayfish.spec.errors import CrayfishError

MS = 1_000_000
START = 1_790_000_000_000 * MS


def probes(offset_ms: float, round_trip_ms: float = 0.6, count: int = 40):
    """What a broker whose clock is so much ahead answers, with delays that fall before or after the append."""
    random = np.random.default_rng(3)
    for number in range(count):
        before = START + int(number * 13.7 * MS)
        there, back = (random.random(2) * round_trip_ms * MS).astype(int)
        append_ms = int(before + there + offset_ms * MS) // MS
        yield before, before + int(there + back), append_ms


@pytest.mark.parametrize("offset_ms", [0.0, 0.3, 17.25, -1234.5])
def test_an_offset_is_found_within_its_uncertainty_and_better_than_a_truncated_time_tells(offset_ms):
    found = clocks.offset(probes(offset_ms))
    assert abs(found["offset_ms"] - offset_ms) <= found["uncertainty_ms"] < 0.5


def test_a_slow_way_to_the_broker_makes_its_clock_uncertain():
    assert clocks.offset(probes(5.0, round_trip_ms=40, count=3))["uncertainty_ms"] > 1


def test_a_clock_that_steps_between_probes_is_uncertain_by_the_step():
    found = clocks.offset([*probes(0.0), *probes(50.0)])
    assert found["uncertainty_ms"] > 25


def test_the_offsets_before_and_after_a_run_bound_that_of_the_run():
    found = clocks.merged([clocks.offset(probes(2.0)), clocks.offset(probes(4.0))])
    assert abs(found["offset_ms"] - 3) < 0.5 and 1 < found["uncertainty_ms"] < 2 and found["probes"] == 80


def test_the_anchor_is_the_wall_clock_minus_the_monotonic_one():
    first, second = clocks.anchor(), clocks.anchor()
    assert abs(first - second) < 1_000 * MS


def samples(anchors: list[int]) -> dict:
    """One a second."""
    times = [START + number * 1000 * MS for number in range(len(anchors))]
    machine = {"time_ns": times, "cpu_s": [0.0] * len(times), "stolen_s": [0.0] * len(times)}
    return {"stages": {}, "machine": {**machine, "anchor_ns": anchors, "first_anchor_ns": 10}}


SEGMENT = {"load_start_ns": START + 1500 * MS, "end_ns": START + 3500 * MS}


def test_a_step_of_the_wall_clock_is_warned_of():
    stepped = samples([10, 10, 10, 10 - 3 * MS, 10 - 3 * MS, 10])
    (warning,) = health.clock_warnings(stepped, {0: SEGMENT})
    assert warning.startswith("segment 1: the wall clock stepped by -3.0 ms")


def test_a_step_before_the_segment_counts_and_one_after_it_does_not():
    before = samples([10, 10 + 5 * MS, 10 + 5 * MS, 10 + 5 * MS, 10 + 5 * MS, 10 + 5 * MS])
    assert "stepped by 5.0 ms" in health.clock_warnings(before, {0: SEGMENT})[0]
    assert health.clock_warnings(samples([10, 10, 10, 10, 10, 10 + 5 * MS]), {0: SEGMENT}) == []
    assert health.clock_warnings(samples([10, 10, 10 + MS // 2, 10, 10, 10]), {0: SEGMENT}) == []


def test_append_times_are_told_by_the_runs_clock():
    assert outcomes.by_the_runs_clock(np.array([100, -1]), 9.7).tolist() == [90, -1]


ANSWERS = "from crayfish.harness import clocks; import sys; print(clocks.answer(), flush=True); sys.stdin.read()"


@pytest.mark.parametrize("ahead_s", [0, 5000])
def test_a_process_whose_monotonic_clock_is_another_is_told_the_run_s_time(ahead_s):
    other = ["unshare", "--time", "--monotonic", str(ahead_s), "--fork", "--kill-child"] if ahead_s else []
    if other and subprocess.run([*other, "true"], capture_output=True).returncode:
        pytest.skip("a clock of its own needs root (unshare --time)")
    command, run_ns = [*other, sys.executable, "-c", ANSWERS], clocks.anchor()
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environment) as process:
        port = int(process.stdout.readline())
        low, high = clocks.ask("127.0.0.1", port, run_ns)
        process.stdin.close()
    truth_ns = run_ns - ahead_s * 10**9
    assert low <= truth_ns <= high
    assert clocks.known((low, high), truth_ns)["offset_ms"] == pytest.approx(0, abs=(high - low) / 1e6)


def test_one_that_does_not_tell_its_clock_is_named():
    with pytest.raises(CrayfishError, match=r"127\.0\.0\.1:1 does not tell its clock: .*refused"):
        clocks.ask("127.0.0.1", 1, 0)


def test_the_clock_of_a_broker_on_this_machine_is_this_machines(resources, tmp_path):
    jars = sorted(map(str, (resources / "jars/kafka").glob("*.jar")))
    own = broker.start(jvm.find().executable, jars, tmp_path / "broker", tmp_path / "log", "test")
    with broker.Broker(own.servers, own) as started:
        started.prepare(["clock"], 1, own.check)
        found = clocks.probe(own.servers, "clock", clocks.anchor(), own.check)
    assert abs(found["offset_ms"]) <= found["uncertainty_ms"] and found["probes"] == clocks.PROBES
