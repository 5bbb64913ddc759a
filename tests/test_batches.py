"""Batches of model calls, without an engine: how they are gathered, packed and counted, and what the manifest tells."""

import signal
import struct
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crayfish.engine import batches, child
from crayfish.results import tabulation
from crayfish.spec import discovery
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import RunSpec, Segment

NUMBERS = st.integers(0, 2**40)


def spec_of(processor: str = "ray", **fields: object) -> RunSpec:
    scorer = "noop" if discovery.processor(processor).floor else "onnx"
    return RunSpec(processor, scorer, (Segment("constant", rate=1.0),), scoring="vectorised", **fields)


class Topic:
    """What confluent-kafka's consumer offers of it: some messages, each of which comes so many s after the start."""

    def __init__(self, *come_s: float):
        self.began, self.left, self.asked = time.monotonic(), list(come_s), []

    def consume(self, most: int, timeout: float) -> list[float]:
        assert most > 0
        self.asked.append((most, timeout))
        end, taken = time.monotonic() + timeout, []
        while self.left and len(taken) < most and self.began + self.left[0] <= end:
            time.sleep(max(0.0, self.began + self.left[0] - time.monotonic()))
            taken.append(self.left.pop(0))
        if len(taken) < most:
            time.sleep(max(0.0, end - time.monotonic()))
        return taken


def gathered(topic: Topic, most: int, waits_ms: int, stopped=lambda: False) -> list:
    return batches.gather(topic, -1.0, most, waits_ms, stopped, 0.1)


@pytest.mark.parametrize(("most", "taken"), [(1, 0), (3, 2), (10, 5)])
def test_without_a_wait_a_batch_is_what_is_there_up_to_its_bound(most, taken):
    topic = Topic(*[0.0] * 5, 3600.0)
    assert len(gathered(topic, most, 0)) == 1 + taken
    assert topic.asked == ([] if most == 1 else [(most - 1, 0.0)])


def test_a_batch_waits_for_more_in_order_until_it_is_full():
    assert gathered(Topic(0.01, 0.02, 0.03, 0.04), 4, 10_000) == [-1.0, 0.01, 0.02, 0.03]


def test_a_batch_waits_no_longer_than_it_is_told():
    began = time.monotonic()
    assert gathered(Topic(0.0, 0.15, 3600.0), 9, 300) == [-1.0, 0.0, 0.15]
    assert time.monotonic() - began >= 0.3


def test_a_batch_that_waits_goes_on_when_its_source_is_to_stop():
    topic = Topic(0.0, 0.05, 3600.0)
    assert gathered(topic, 9, 10_000, stopped=lambda: True) == [-1.0, 0.0, 0.05]
    assert len(topic.asked) == 1


@pytest.mark.parametrize(("given_ms", "whole"), [(0.0, 0), (0.2, 1), (1.0, 1), (1.5, 2)])
def test_a_wait_is_whole_milliseconds_and_never_less_than_it_was(given_ms, whole):
    assert batches.wait_ms(spec_of(engine_batch_max=8, engine_batch_wait_ms=given_ms)) == whole


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_what_is_packed_is_what_was_there(values):
    packed = batches.pack(values)
    assert batches.unpack(memoryview(packed), len(values)) == values
    assert list(struct.unpack_from(f"<{len(values)}i", packed)) == [len(value) for value in values]


@given(NUMBERS, NUMBERS)
def test_places_grow_with_the_numbers_and_tell_them_to_a_thousandth(one, other):
    for number in (one, other):
        told, known = batches.least(batches.place(number)), min(number, batches.MOST)
        assert told <= known < told + max(1, known / 1024)
        assert batches.place(number) < batches.PLACES
    assert (batches.place(one) <= batches.place(other)) or one > other


@settings(max_examples=20)
@given(st.lists(st.lists(st.tuples(st.integers(1, 2000), st.none() | st.integers(0, 2000)), max_size=20), max_size=3))
@example([[(size, size) for size in range(1, 1001)]])
@example([[(size, size) for size in range(1, 1000)]])
def test_what_was_reached_is_that_of_all_operators(tmp_path_factory, operators):
    folder = tmp_path_factory.mktemp("counts")
    for added in operators:
        counts = batches.Counts(folder)
        for size, waited_us in added:
            counts.add(size, waited_us)
    sizes = sorted(size for added in operators for size, _ in added)
    waits = sorted(waited for added in operators for _, waited in added if waited is not None)
    found = batches.reached([folder])
    if not sizes:
        assert found is None
        return
    for name, values, unit in (("size", sizes, 1), ("wait_ms", waits, 1000)):
        told = [found[f"{name}_{statistic}"] for statistic in ("mean", "p50", "p99", "max")]
        if values:
            for statistic, percent in (("p50", 50), ("p99", 99)):  # as those of latencies: none without 10 above it
                enough = len(values) * (100 - percent) >= 1000
                value = values[-(-len(values) * percent // 100) - 1] / unit if enough else None
                assert found[f"{name}_{statistic}"] == (value and pytest.approx(value))
            assert (told[0], told[3]) == (pytest.approx(sum(values) / len(values) / unit), values[-1] / unit)
        else:
            assert told == [None] * 4


def test_a_killed_process_leaves_its_counts_and_a_broken_file_is_none(tmp_path):
    code = (
        "import os, sys, pathlib; from crayfish.engine.batches import Counts"
        "\ncounts = Counts(pathlib.Path(sys.argv[1]))"
        "\nfor size in (3, 5): counts.add(size, 7000)"
        "\nos.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env={"PYTHONPATH": child.SCRIPTS})
    assert done.returncode == -signal.SIGKILL
    (tmp_path / f"half{batches.SUFFIX}").write_bytes(b"\0" * 8)
    found = batches.reached([tmp_path, tmp_path / "absent"])
    assert (found["size_mean"], found["size_max"]) == (4, 5)
    assert found["wait_ms_mean"] == pytest.approx(7, rel=0.001)


def test_an_engine_that_may_not_write_counts_nothing_and_one_of_the_run_s_own_says_so(tmp_path):
    nowhere = tmp_path / "file"
    nowhere.touch()
    batches.counter(SimpleNamespace(records=nowhere, processor_address="there:1"))(3, None)
    with pytest.raises(OSError, match="file"):
        batches.counter(SimpleNamespace(records=nowhere, processor_address=None))


def test_the_tables_have_what_was_reached_and_empty_cells_where_nothing_was_told():
    found = {"size_mean": 7.5, "size_p50": 8.0, "size_p99": 8.0, "size_max": 8.0, "wait_ms_mean": None}
    row = tabulation.batch_metrics({"batches": {"engine": found}})
    assert row["engine_batch_size_mean"] == 7.5 and row["engine_batch_wait_ms_p99"] is None
    for older in ({}, {"batches": {"engine": None}}):
        assert set(tabulation.batch_metrics(older)) == set(row) and not any(tabulation.batch_metrics(older).values())


def test_spark_in_real_time_has_no_batches():
    fields = {"execution": "real_time", "partitions": 1}
    assert spec_of("spark", **fields)
    with pytest.raises(CrayfishError, match="use execution 'micro_batch'"):
        spec_of("spark", engine_batch_max=8, **fields)


def test_spark_waits_for_whole_micro_batches():
    from crayfish.processors import spark

    spec = spec_of("spark", engine_batch_max=6000, engine_batch_wait_ms=4.5, parallelism=2)
    job = SimpleNamespace(spec=spec, input_shape=(1,), bootstrap_servers="", kafka_client=None, input_topic="")
    asked = spark.source_settings(job)
    assert (asked["minOffsetsPerTrigger"], asked["maxOffsetsPerTrigger"], asked["maxTriggerDelay"]) == (
        12_000,
        12_000,
        "5ms",
    )
    assert spark.arrow_events(job) == 6000
