"""What servers put together into one model call: answers, order, sizes, delay, errors, and what is told of it."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import awaited
from hypothesis import given, settings
from hypothesis import strategies as st

from crayfish.servers import _batching, tf_serving, torchserve, triton
from crayfish.servers._batching import Batches
from crayfish.spec.run_spec import Job, RunSpec, Segment

FOREVER_MS = 10_000.0


def doubled(points: np.ndarray) -> np.ndarray:
    return 2 * points


def points_of(number: int, count: int) -> np.ndarray:
    """So many data points, which tell whose they are."""
    return np.arange(count, dtype=np.float32).reshape(count, 1) + 1000 * number


@settings(max_examples=30)
@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=40),
    most=st.integers(1, 12),
    workers=st.integers(1, 3),
    delay_ms=st.sampled_from([0.0, 0.5]),
)
def test_every_request_has_its_own_answer_whatever_the_sizes(counts, most, workers, delay_ms):
    asked = [points_of(number, count) for number, count in enumerate(counts)]
    with Batches(doubled, most, delay_ms, workers) as batches, ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(batches.score, asked))
    assert all(np.array_equal(answer, 2 * points) for answer, points in zip(answers, asked, strict=True))
    assert sum(batches.sizes) == len(batches.waits_ms) == len(counts)
    assert min(batches.sizes) >= 1 and max(batches.sizes) <= most and min(batches.waits_ms) >= 0


class Held:
    """A model whose first call lasts until it is let go; it keeps what each call was of."""

    def __init__(self):
        self.calls: list[list[float]] = []
        self.busy, self.let_go = threading.Event(), threading.Event()

    def __call__(self, points: np.ndarray) -> np.ndarray:
        self.calls.append(points[:, 0].tolist())
        self.busy.set()
        assert self.let_go.wait(30)
        return points


def test_what_waits_while_the_model_is_busy_goes_together_in_its_order():
    model = Held()
    with Batches(model, 3, 0.0, 1) as batches, ThreadPoolExecutor(6) as callers:
        callers.submit(batches.score, points_of(0, 1))
        assert model.busy.wait(30)
        for number in range(1, 6):
            callers.submit(batches.score, points_of(number, 1))
            awaited(lambda number=number: batches._waiting.qsize() == number or None, 10, "the request in the queue")
        model.let_go.set()
    assert model.calls == [[0], [1000, 2000, 3000], [4000, 5000]]
    assert list(batches.sizes) == [1, 3, 2]


def test_a_batch_that_is_full_waits_no_longer():
    with Batches(doubled, 3, FOREVER_MS, 1) as batches, ThreadPoolExecutor(3) as callers:
        list(callers.map(batches.score, [points_of(number, 1) for number in range(3)]))
    assert list(batches.sizes) == [3] and max(batches.waits_ms) < FOREVER_MS


def test_a_batch_that_is_not_full_waits_as_long_as_it_is_told_and_ends_with_its_server():
    with Batches(doubled, 3, 20.0, 1) as batches:
        batches.score(points_of(0, 1))
    assert list(batches.sizes) == [1] and batches.waits_ms[0] >= 20
    with ThreadPoolExecutor(1) as callers, Batches(doubled, 3, FOREVER_MS, 2) as batches:
        asked = callers.submit(batches.score, points_of(0, 2))
        awaited(lambda: batches._waiting.empty() or None, 10, "the request in its batch")
    assert np.array_equal(asked.result(), 2 * points_of(0, 2))


def test_an_error_is_told_to_each_caller_of_its_batch_and_to_no_other():
    def fails_together(points: np.ndarray) -> np.ndarray:
        if len(points) > 1:
            raise ValueError("not these")
        return doubled(points)

    with Batches(fails_together, 3, FOREVER_MS, 1) as batches, ThreadPoolExecutor(3) as callers:
        asked = [callers.submit(batches.score, points_of(number, 1)) for number in range(3)]
        for one in asked:
            with pytest.raises(ValueError, match="not these"):
                one.result()
    with Batches(fails_together, 1, 0.0, 1) as batches:
        assert batches.score(points_of(0, 1)).tolist() == [[0]]


def job_of(folder: Path, *sizes: int, **fields: object) -> Job:
    loads = tuple(Segment("constant", rate=1.0, batch_size=size) for size in sizes or (2,))
    chosen = {"scorer": "triton", "parallelism": 2, "async_calls": 8, "server_batch_max": 4, **fields}
    spec = RunSpec("kafka_streams", segments=loads, **chosen)
    return Job.without_kafka(spec, str(folder), model_path="/models/the.model")


def test_what_is_told_of_batches_lies_where_the_harness_looks(tmp_path):
    first, second = _batching.Record(str(tmp_path)), _batching.Record(str(tmp_path))
    for number in range(500):
        first.note([1.0])
        second.note([2.0, 3.0, float(number % 2)])
    sizes, waits_ms = _batching.recorded(str(tmp_path))
    assert sum(sizes) == len(waits_ms) == 2000
    job = job_of(tmp_path)
    _batching.tell_counts(job, sizes, waits_ms)
    told = json.loads(job.batches.read_text())
    assert (told["size_mean"], told["size_p50"], told["size_p99"]) == (2.0, 2.0, 3.0)
    assert (told["queue_ms_mean"], told["queue_ms_p99"]) == (1.625, 3.0)
    _batching.tell_counts(job, sizes[:10], waits_ms[:20])
    assert json.loads(job.batches.read_text())["size_p99"] is None  # too few
    _batching.tell(job, {})
    assert set(json.loads(job.batches.read_text()).values()) == {None}


@pytest.mark.parametrize(
    ("sizes", "fields", "most", "each"),
    [
        ((2,), {}, 8, 2),
        ((1, 5), {}, 20, None),
        ((2,), {"async_calls": 0, "server_batch_max": 2, "scoring": "vectorised", "engine_batch_max": 3}, 12, None),
        ((2,), {"async_calls": 0, "server_batch_max": 2, "scoring": "vectorised"}, 2 * 2**24 // 784, None),
    ],
)
def test_what_counts_data_points_takes_so_many_requests_of_the_largest(tmp_path, sizes, fields, most, each):
    job = job_of(tmp_path, *sizes, **fields)
    assert abs(_batching.most_points(job) - most) <= 1 and _batching.points_of_each(job) == each


def test_triton_s_dynamic_batcher_is_asked_for_batches(tmp_path):
    text = triton.model_config(job_of(tmp_path, server_batch_delay_ms=1.5))
    assert "max_batch_size: 8\n" in text and "dims: [ 28, 28 ]" in text and "dims: [ 10 ]" in text
    assert "preferred_batch_size: [ 8 ] max_queue_delay_microseconds: 1500" in text


@pytest.mark.parametrize(("delay_ms", "whole"), [(0.0, 1), (0.2, 1), (2.0, 2), (2.5, 3)])
def test_torchserve_is_asked_for_batches_in_whole_milliseconds(tmp_path, delay_ms, whole):
    job = job_of(tmp_path, scorer="torchserve", server_batch_delay_ms=delay_ms)
    assert f'"batchSize": 4, "maxBatchDelay": {whole}' in str(torchserve.settings(job, 1, 2, 3, 4)["models"])


def test_the_official_tensorflow_serving_reads_its_batches_from_files(tmp_path):
    job = job_of(tmp_path, scorer="tf_serving", server_batch_delay_ms=2.0)
    command = tf_serving.program_command("/bin/tms", job, f"{tmp_path}/x.socket", 4711)
    assert {"--enable_batching=true", "--rest_api_port=4711"} < {*command} and "--rest_api_port=0" not in command
    parameters = (tmp_path / "batching_parameters_file").read_text().splitlines()
    assert {"max_batch_size { value: 8 }", "batch_timeout_micros { value: 2000 }"} < {*parameters}
    assert {"num_batch_threads { value: 2 }", "max_enqueued_batches { value: 16 }"} < {*parameters}
    container = tf_serving.container_command("docker", job, f"{tmp_path}/x.socket", "crayfish-1")
    assert f"--batching_parameters_file={tmp_path}/batching_parameters_file" in container
    assert "--rest_api_port=0" in container


# As its exporter writes them: of two pools, cumulative, us.
MONITORED = """# TYPE :tensorflow:serving:batching_session:queuing_latency histogram
:tensorflow:serving:batching_session:queuing_latency_bucket{thread_pool_name="a",le="100"} 0
:tensorflow:serving:batching_session:queuing_latency_bucket{thread_pool_name="a",le="200"} 400
:tensorflow:serving:batching_session:queuing_latency_bucket{thread_pool_name="a",le="+Inf"} 400
:tensorflow:serving:batching_session:queuing_latency_sum{thread_pool_name="a"} 60000
:tensorflow:serving:batching_session:queuing_latency_count{thread_pool_name="a"} 400
:tensorflow:serving:batching_session:queuing_latency_bucket{thread_pool_name="b",le="100"} 0
:tensorflow:serving:batching_session:queuing_latency_bucket{thread_pool_name="b",le="200"} 400
:tensorflow:serving:batching_session:queuing_latency_bucket{thread_pool_name="b",le="+Inf"} 600
:tensorflow:serving:batching_session:queuing_latency_sum{thread_pool_name="b"} 140000
:tensorflow:serving:batching_session:queuing_latency_count{thread_pool_name="b"} 600
# TYPE :tensorflow:serving:batching_session:wrapped_run_count counter
:tensorflow:serving:batching_session:wrapped_run_count{} 250
"""


def test_the_monitoring_of_the_official_tensorflow_serving_is_read(monkeypatch):
    monkeypatch.setattr(tf_serving._child, "get", lambda port, path: MONITORED.encode())
    told = tf_serving.monitored(1)
    assert told == {"size_mean": 4.0, "queue_ms_mean": 0.2, "queue_ms_p50": 0.1625, "queue_ms_p99": 0.2}
    monkeypatch.setattr(tf_serving._child, "get", lambda port, path: None)
    assert tf_serving.monitored(1) == {}
