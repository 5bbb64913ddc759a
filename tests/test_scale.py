"""Several generators and several sinks are one to the rest of a run: one schedule, one accounting."""

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import manifest_of
from hypothesis import given
from hypothesis import strategies as st
from test_contract import assert_answered_once_and_rightly
from test_contract import spec_of as made_spec

from crayfish.harness import clients, pacing
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import RunSpec, Segment

MANY = 4
PACED = {"kind": "poisson", "rate": 300.0, "warmup_s": 1.0, "warmup_at_most_s": 1.0, "measure_s": 2.0}
BACKLOG = {"kind": "backlog", "rate": 300.0, "warmup_s": 1.0, "measure_s": 2.0}


def spread(*loads: dict, **more: object) -> RunSpec:
    fields = {"processor": "relay", "scorer": "noop", "generators": MANY, "sinks": MANY, "segments": [*loads]}
    return made_spec({**fields, **more})


def test_they_send_the_schedule_of_one_and_share_its_partitions(harness, tmp_path):
    spec = spread(PACED, {**PACED, "rate": 100.0}, seed=7)
    due = [pacing.due_offsets(load, spec.seed + number) for number, load in enumerate(spec.segments)]
    events = sum(map(len, due))
    assert_answered_once_and_rightly(harness, spec, tmp_path / "run", events)
    sent = pq.read_table(tmp_path / "run/producer.parquet").to_pydict()
    starts = [each["start_ns"] for each in manifest_of(tmp_path / "run")["segments"]]
    planned = np.concatenate([offsets + start for offsets, start in zip(due, starts, strict=True)])
    assert np.array_equal(sent["due_ns"], planned)
    expected = [
        pacing.partitions_of(load, len(own), spec.partitions) for load, own in zip(spec.segments, due, strict=True)
    ]
    assert np.array_equal(sent["partition"], np.concatenate(expected))
    assert {f"{name}-{member + 1}.log" for name in ("producer", "consumer") for member in range(MANY)} <= {
        log.name for log in (tmp_path / "run/logs").iterdir()
    }


@pytest.mark.full
def test_a_backlog_of_several_generators_is_drained(harness, tmp_path):
    run = harness(spread(BACKLOG), tmp_path / "run")
    output = run.finish()
    assert run.process.returncode == 0, output
    counts = manifest_of(tmp_path / "run")["accounting"]
    assert counts["sent"] == counts["received_once"] == 900 and counts["wrong"] == 0
    received = pq.read_table(tmp_path / "run/consumer.parquet")
    assert sorted(received["sequence"].to_pylist()) == list(range(900))


@given(
    st.lists(st.lists(st.integers(-1, 30)).map(sorted), min_size=1, max_size=5),
    st.integers(1, 7),
)
def test_parts_of_a_table_are_merged_in_its_order(parts, size):
    batches = [iter(pa.table({"at": pa.array(part, pa.int64())}).to_batches(size)) for part in parts]
    found = [rows["at"].to_pylist() for rows in clients.merged(batches, "at")]
    assert [*itertools.chain(*found)] == sorted(itertools.chain(*parts))
    assert all(len(rows) <= size * len(parts) for rows in found)


def test_one_that_dies_ends_the_run(harness, tmp_path):
    run = harness(spread({**PACED, "measure_s": 60.0}), tmp_path / "run")
    run.await_log("segment 1/1")
    run.stage("producer").kill()
    output = run.finish()
    assert "producer: was killed by SIGKILL" in output
    run.assert_failed_cleanly(output)


@pytest.mark.parametrize("name", ["generators", "sinks"])
def test_there_are_no_more_than_partitions(name):
    with pytest.raises(CrayfishError, match=rf"run\.{name}: 9 processes cannot share 8 partitions"):
        spread(PACED, **{name: 9})


def test_a_search_has_one_generator():
    with pytest.raises(CrayfishError, match=r"run\.generators: a search cuts off loads"):
        RunSpec("relay", "noop", (Segment("search", objective_ms=100.0, search_s=20.0),), generators=2)
