"""Batches of the engine on real parts: what run.engine_batch_max and its wait promise, and what the manifest tells."""

import pyarrow.parquet as pq
import pytest
import sampling
from conftest import manifest_of, sampled
from test_contract import spec_of

from crayfish.spec.run_spec import RunSpec

SLOW = {"kind": "constant", "rate": 40.0, "warmup_s": 1.0, "measure_s": 3.0}
WAIT_MS = 200


def reached(harness, spec: RunSpec, out) -> dict:
    """What the manifest tells of the batches of a run that answered every event once and rightly."""
    run = harness(spec, out)
    output = run.finish()
    assert run.process.returncode == 0, output
    received = pq.read_table(out / "consumer.parquet")
    assert all(received["correct"].to_pylist())
    manifest = manifest_of(out)
    assert manifest["accounting"]["lost"] == manifest["accounting"]["duplicated"] == 0
    return manifest["batches"]["engine"]


@pytest.mark.parametrize("processor", sampling.PROCESSORS)
def test_batches_of_a_backlog_are_full_and_none_is_larger(harness, tmp_path, processor):
    (batched,) = sampling.batches(False, processor)
    load = {"kind": "backlog", "rate": 4000.0, "warmup_s": 1.0, "measure_s": 3.0}
    found = reached(harness, spec_of({**batched, "scorer": "onnx", "segments": [load]}), tmp_path)
    assert found["size_p50"] == found["size_max"] == batched["engine_batch_max"]


@pytest.mark.parametrize("processor", sampled(sampling.PROCESSORS, 0))
def test_events_of_a_slow_load_wait_for_each_other(harness, tmp_path, processor):
    (batched,) = sampling.batches(False, processor)
    spec = spec_of({**batched, "scorer": "onnx", "engine_batch_wait_ms": WAIT_MS, "segments": [SLOW]})
    found = reached(harness, spec, tmp_path)
    assert 1 < found["size_mean"] <= found["size_max"] <= batched["engine_batch_max"]
    assert found["wait_ms_p50"] is None or found["wait_ms_p50"] > WAIT_MS / 2
