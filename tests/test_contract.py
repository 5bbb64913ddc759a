"""The contract of processors and scorers, on real parts: every pair answers every event once and rightly.

Adapters are discovered, never listed. Each run holds two segments, with 1 and with 4 data points an event.
"""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import manifest_of

from crayfish import discovery
from crayfish.errors import CrayfishError
from crayfish.run_spec import RunSpec

PROCESSORS, SCORERS = discovery.names("processors"), discovery.names("scorers")
SEGMENTS = [
    {"kind": "constant", "rate": 150.0, "batch_size": size, "warmup_s": 1.0, "measure_s": 3.0} for size in (1, 4)
]
EVENTS = 2 * 4 * 150


def spec_of(processor: str, scorer: str = "onnx", **fields: object) -> RunSpec:
    return RunSpec.from_dict({"processor": processor, "scorer": scorer, "segments": SEGMENTS, **fields})


def assert_answered_once_and_rightly(harness, spec: RunSpec, out: Path) -> dict:
    """Run it and check the accounting from its tables; returns the manifest."""
    run = harness(spec, out)
    output = run.finish()
    assert run.process.returncode == 0, output
    sent, received = pq.read_table(out / "producer.parquet"), pq.read_table(out / "consumer.parquet")
    assert sent["sequence"].to_pylist() == list(range(EVENTS))
    assert sorted(received["sequence"].to_pylist()) == list(range(EVENTS))
    assert all(received["correct"].to_pylist())
    due, stamps = sent["due_ns"].to_numpy(), sent["sent_ns"].to_numpy()
    assert (stamps >= due).all() and (np.diff(due) >= 0).all()
    arrived = np.zeros(EVENTS, np.int64)
    arrived[received["sequence"].to_numpy()] = received["received_ns"].to_numpy()
    assert (arrived > stamps).all()
    assert (sent["input_append_ms"].to_numpy() * 1_000_000 >= stamps - 2_000_000).all()
    manifest = manifest_of(out)
    counts = manifest["accounting"]
    assert counts.pop("late") <= EVENTS
    assert counts == {"sent": EVENTS, "received_once": EVENTS, "lost": 0, "duplicated": 0, "wrong": 0}
    assert not [text for text in manifest["warnings"] if "outlived" in text or "killed" in text]
    return manifest


@pytest.mark.parametrize("parallelism", [1, 2])
@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("processor", PROCESSORS)
def test_every_pair_answers_every_event_once_and_rightly(harness, tmp_path, processor, scorer, parallelism):
    spec = spec_of(processor, scorer, parallelism=parallelism)
    manifest = assert_answered_once_and_rightly(harness, spec, tmp_path)
    assert manifest["java"]["version"] and manifest["machine"]["cpu"] and manifest["git"]["commit"]
    assert {each["environment"] for each in manifest["environments"]} >= {processor}


VARIANTS = [
    {"scoring": "vectorised"},
    {"delivery": "exactly_once"},
    {"execution": "process"},
    {"execution": "process", "parallelism": 2},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda fields: "-".join(map(str, fields.values())))
@pytest.mark.parametrize("processor", PROCESSORS)
def test_every_variant_works_or_is_refused_with_a_reason(harness, tmp_path, processor, variant):
    try:
        spec = spec_of(processor, **variant)
    except CrayfishError as refused:
        assert processor in str(refused) and len(str(refused)) > 40
        return
    assert_answered_once_and_rightly(harness, spec, tmp_path)


@pytest.mark.parametrize("parallelism", [1, 2])
@pytest.mark.parametrize("processor", PROCESSORS)
def test_a_backlog_is_drained_and_its_predictions_are_checked(harness, tmp_path, processor, parallelism):
    load = {"kind": "backlog", "rate": 4000.0, "warmup_s": 1.0, "measure_s": 3.0}
    run = harness(spec_of(processor, parallelism=parallelism, segments=[load]), tmp_path)
    output = run.finish()
    assert run.process.returncode == 0, output
    received = pq.read_table(tmp_path / "consumer.parquet")
    assert sorted(received["sequence"].to_pylist()) == list(range(16000)) and all(received["correct"].to_pylist())
    assert set(received["received_ns"].to_pylist()) == {-1}
    appended = received["output_append_ms"].to_numpy()
    assert np.ptp(appended) > 0
