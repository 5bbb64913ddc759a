"""Runs without Kafka: what harness and engine hand over, and that it is measured, checked and cleared up as with Kafka.

The paced runs are variants of the contract suite.
"""

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import manifest_of, tagged_processes
from generated_events import header_of

from crayfish.harness.in_engine import NUMBER, Exchange
from crayfish.spec.events import CODECS
from crayfish.spec.run_spec import Job, RunSpec

LONG = {"kind": "constant", "rate": 200.0, "warmup_s": 1.0, "measure_s": 120.0}
SHORT = [{"kind": "constant", "rate": 10.0, "batch_size": size, "warmup_s": 0.0, "measure_s": 2.0} for size in (3, 1)]
PARTITIONS, INSTANCES = 5, 2


def spec_of(**fields: object) -> RunSpec:
    return RunSpec.from_dict({"processor": "flink", "scorer": "onnx", "transport": "in_engine", **fields})


def played(exchange: Exchange, job: Job, number: int) -> list[bytes]:
    """What an engine of two instances does with a segment, by the layout that in_engine.py tells; its events."""
    codec = CODECS[job.spec.codec](job.input_shape, job.outputs)
    content = (job.exchange / f"segment-{number}").read_bytes()
    points, many, count, first, flags = np.frombuffer(content, NUMBER, 5).tolist()
    ends = np.frombuffer(content, NUMBER, many + 1, 40).tolist()
    offsets = np.frombuffer(content, NUMBER, count, 40 + 8 * len(ends)).tolist()
    bodies = content[40 + 8 * (len(ends) + count) :]
    wall, monotonic = map(int, (job.exchange / f"segment-{number}.start").read_text().split())
    events, sent = [], [[] for _ in range(INSTANCES)]
    for position, offset in enumerate(offsets):
        sequence = first + position
        body = bodies[ends[sequence % many] : ends[sequence % many + 1]]
        events.append(codec.stamp(body, points, sequence, wall + offset, bool(flags)))
        sent[sequence % PARTITIONS % INSTANCES].append(monotonic + offset + sequence)
    for instance, times in enumerate(sent):
        np.array(times, NUMBER).tofile(job.exchange / f"sent-{number}-{instance}")
    return events


@pytest.mark.parametrize("codec", CODECS)
def test_harness_and_engine_understand_each_other(tmp_path, codec):
    job = Job.without_kafka(spec_of(segments=SHORT, partitions=PARTITIONS, codec=codec), str(tmp_path))
    pool = np.random.default_rng(1).random((4, *job.input_shape), np.float32)
    reader = CODECS[codec](job.input_shape, job.outputs)
    exchange = Exchange(job, pool, anchor_ns=10**18)
    starts = [exchange.begin(number) for number in range(3)]
    probes, *loads = [played(exchange, job, number) for number in range(3)]
    assert [header_of(reader, event).probe for event in probes] == [True] * PARTITIONS
    events = [event for load in loads for event in load]
    headers = [header_of(reader, event) for event in events]
    assert [(header.sequence, header.points, header.probe) for header in headers] == [
        (sequence, 3 if sequence < 20 else 1, False) for sequence in range(40)
    ]
    for header, event in zip(headers, events, strict=True):
        images = (header.sequence * header.points + np.arange(header.points)) % len(pool)
        assert (reader.decode(event) == pool[images]).all()
    table = exchange.sent()
    assert table["due_ns"].tolist() == [header.due_ns for header in headers]
    assert table["due_ns"][[0, 20]].tolist() == starts[1:]
    assert (table["sent_ns"] - table["due_ns"]).tolist() == table["sequence"].tolist() == list(range(40))
    assert table["segment"].tolist() == [0] * 20 + [1] * 20
    assert exchange.released(1) and exchange.answered() == 0


def test_predictions_are_read_as_the_sink_wrote_them(tmp_path):
    job = Job.without_kafka(spec_of(segments=SHORT), str(tmp_path))
    exchange = Exchange(job, np.zeros((4, *job.input_shape), np.float32), anchor_ns=1000)
    values = [bytes([number % 251]) * (number % 7) for number in range(2500)]
    for instance, own in enumerate((values[:2100], [], values[2100:])):
        (job.exchange / f"predictions-{instance}").write_bytes(b"".join(own))
        done = np.array([(number, len(value)) for number, value in enumerate(own)], NUMBER).reshape(-1, 2)
        done.tofile(job.exchange / f"done-{instance}")
    assert exchange.answered() == 2500
    times, read = zip(*exchange.predictions(), strict=True)
    assert [value for chunk in read for value in chunk] == values
    assert np.concatenate(times).tolist() == [1000 + number for number in (*range(2100), *range(400))]


def test_a_backlog_is_drained_without_kafka(harness, tmp_path):
    load = {"kind": "backlog", "rate": 4000.0, "warmup_s": 1.0, "measure_s": 3.0}
    run = harness(spec_of(segments=[load]), tmp_path)
    output = run.finish()
    assert run.process.returncode == 0, output
    received = pq.read_table(tmp_path / "consumer.parquet")
    assert sorted(received["sequence"].to_pylist()) == list(range(16000)) and all(received["correct"].to_pylist())
    done = received["received_ns"].to_numpy()
    assert (np.diff(done) >= 0).all() and np.ptp(done) > 0
    assert (received["output_append_ms"].to_numpy() == done // 1_000_000).all()
    manifest = manifest_of(tmp_path)
    assert set(manifest["stages"]) == {"harness", "processor"} and manifest["kafka"] is None
    assert not [text for text in manifest["warnings"] if "outlived" in text or "killed" in text]


@pytest.mark.full
def test_a_processor_that_is_killed(harness, tmp_path):
    run = harness(spec_of(segments=[LONG]), tmp_path / "run")
    run.await_log("sent")
    run.stage("processor").kill()
    output = run.finish()
    assert "processor: was killed by SIGKILL" in output
    run.assert_failed_cleanly(output)


@pytest.mark.full
def test_kill_9_of_the_harness(harness, tmp_path):
    run = harness(spec_of(segments=[LONG], parallelism=2), tmp_path / "run")
    run.await_log("sent")
    assert len(tagged_processes()) >= 3
    run.process.kill()
    run.process.wait()
    run.assert_failed_cleanly("")
