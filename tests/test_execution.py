"""What the harness says of a run, from its tables: pure functions of run.py."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crayfish.harness import run
from crayfish.spec.run_spec import RunSpec

LOAD = {"kind": "constant", "rate": 100.0, "warmup_s": 0.0, "measure_s": 1.0}
WINDOW = {"load_start_ns": 0, "end_ns": 10**9}


def producer_table(path, late_ms):
    due = np.arange(100, dtype=np.int64) * 10_000_000
    sent = due + (np.asarray(late_ms) * 1e6).astype(np.int64)
    pq.write_table(pa.table({"segment": np.zeros(100, np.int16), "due_ns": due, "sent_ns": sent}), path)
    return path


def spec_of(**load):
    return RunSpec.from_dict({"processor": "flink", "scorer": "noop", "segments": [LOAD | load]})


def test_a_late_generator_is_counted_and_warned_of(tmp_path):
    table = producer_table(tmp_path / "producer.parquet", np.where(np.arange(100) < 5, 20.0, 1.0))
    count, (warning,) = run.late(spec_of(), table, {0: WINDOW})
    assert count == 5
    assert warning == "segment 1: 5.0% of the events were sent more than 10 ms late (at most 20 ms)"


def test_a_punctual_generator_is_not(tmp_path):
    table = producer_table(tmp_path / "producer.parquet", np.full(100, 1.0))
    assert run.late(spec_of(), table, {0: WINDOW}) == (0, [])


def test_cores_that_others_used_or_the_hypervisor_withheld_are_warned_of():
    def samples(busy: float, stolen: float) -> dict:
        machine = {"time_ns": [0, 10**9], "cpu_s": [0.0, busy], "stolen_s": [3.0, 3.0 + stolen]}
        return {"stages": {"processor": {"cpu_s": [0.0, 0.5]}}, "machine": machine}

    assert run.others(samples(1.5, 0.4), {0: WINDOW}) == [
        "segment 1: other processes used 1.00 cores while it was measured",
        "segment 1: the hypervisor withheld 0.40 cores while it was measured",
    ]
    assert run.others(samples(0.6, 0.1), {0: WINDOW}) == []
