"""The sink's table and counts, of messages as Kafka's client hands them over."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Message

from crayfish.harness.checker import Checker
from crayfish.harness.consumer import Sink
from crayfish.spec import discovery
from crayfish.spec.events import CODECS
from crayfish.spec.run_spec import Job, RunSpec, Segment

PARTITIONS = 4
SHAPE = discovery.model("ffnn").input_shape


@pytest.fixture
def sink(tmp_path):
    spec = RunSpec("relay", "noop", (Segment("constant", rate=1.0),), partitions=PARTITIONS)
    job = Job.without_kafka(spec, str(tmp_path), bootstrap_servers="127.0.0.1:1", output_topic="out", group="g")
    return Sink(job, Checker(job, np.zeros((10, job.outputs), np.float32)), anchor_ns=0, offline=False)


def came(sink: Sink, sequences: list[int], received_ns: int, value: float = 0.0, probe: bool = False) -> None:
    """Predictions for these events, due at 1 000 000 * sequence, have come at a time."""
    codec = CODECS["binary"](SHAPE, 10)
    for sequence in sequences:
        event = codec.stamp(codec.encode_body(np.zeros((1, *SHAPE))), 1, sequence, 1_000_000 * sequence, probe)
        prediction = codec.encode_prediction(event, np.full((1, 10), value, np.float32))
        sink._messages.append(
            Message(topic="out", partition=sequence % PARTITIONS, value=prediction, timestamp=(2, 5 + sequence))
        )
        sink._received_ns.append(received_ns)


def test_the_table_has_every_prediction_but_probes_in_their_order(sink, tmp_path):
    came(sink, [0, 1], 9, probe=True)
    came(sink, [3, 1], 10_000_000)
    sink.check()
    came(sink, [1, 5000], 20_000_000)
    sink.write(tmp_path / "table.parquet")
    assert pq.read_table(tmp_path / "table.parquet").to_pydict() == {
        "sequence": [3, 1, 1, 5000],
        "output_append_ms": [8, 6, 6, 5005],
        "received_ns": [10_000_000, 10_000_000, 20_000_000, 20_000_000],
        "partition": [3, 1, 1, 0],
        "correct": [True] * 4,
    }
    assert sink.counts() == {"received": 4, "distinct": 3, "wrong": 0, "malformed": 0}


def test_a_report_tells_the_median_latency_since_the_last_one(sink):
    came(sink, [1, 2, 3], 10_000_000)
    assert {"answered": 3, "latency_ms": 8.0}.items() <= sink.progress().items()
    assert {"answered": 0, "latency_ms": None}.items() <= sink.progress().items()
    came(sink, [4, 5, 6], 10_000_000)
    assert sink.progress()["latency_ms"] == 5.0


def test_wrong_and_malformed_predictions_are_counted(sink):
    came(sink, [1], 1, value=1.0)
    sink._messages.append(Message(topic="out", partition=0, value=b"none", timestamp=(2, 5)))
    sink._received_ns.append(1)
    counts = sink.progress()
    assert (counts["received"], counts["wrong"], counts["malformed"]) == (1, 1, 1)


def test_an_event_keeps_at_most_40_bytes(sink):
    count = 20_000
    for first in range(0, count, 1000):
        came(sink, [*range(first, first + 1000)], 1)
        sink.check()
    kept = sum(values.buffer_info()[1] * values.itemsize * 9 / 8 for values in sink._table.values())
    assert kept + sink._seen.nbytes <= 40 * count
