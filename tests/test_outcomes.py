"""What became of each event, against the tables' definition, in blocks of any size."""

import json
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from generated_runs import spec_of, summarise, write_run
from hypothesis import given
from hypothesis import strategies as st

from crayfish.results import outcomes
from crayfish.results.summaries import summarise as summarised
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import Segment


def write_tables(folder, sent: list[int], predictions: list[tuple[int, bool]]) -> None:
    """Events of these sequence numbers, in segment sequence // 10, and predictions: an event and whether it is right,
    whose times are their places."""
    sent = np.array(sent, np.int64)
    columns = {name: sent.astype(kind) for name, kind in outcomes.PRODUCER.items()}
    pq.write_table(pa.table({**columns, "segment": (sent // 10).astype(np.int16)}), folder / "producer.parquet")
    times = np.arange(len(predictions))
    found = {
        "sequence": np.array([event for event, _ in predictions], np.int64),
        "output_append_ms": times,
        "received_ns": times,
        "correct": np.array([right for _, right in predictions], bool),
    }
    pq.write_table(pa.table(found), folder / "consumer.parquet")


@given(
    st.sets(st.integers(0, 60)).map(sorted),
    st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=80),
    st.integers(1, 9),
)
def test_each_event_has_its_first_prediction_and_all_are_counted(tmp_path_factory, sent, predictions, block):
    folder = tmp_path_factory.mktemp("run")
    write_tables(folder, sent, predictions)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcomes, "BLOCK", block)
        patch.setattr(outcomes, "IN_MEMORY", 64)
        found = outcomes.read(folder)
    counted, wrong = (
        Counter(event for event, _ in predictions),
        Counter(event for event, right in predictions if not right),
    )
    assert found.columns["sequence"].tolist() == sent
    assert found.columns["predictions"].tolist() == [counted[event] for event in sent]
    assert found.columns["wrong"].tolist() == [wrong[event] for event in sent]
    events = [event for event, _ in predictions]
    first = [events.index(event) if event in events else -1 for event in sent]
    assert found.columns["received_ns"].tolist() == found.columns["output_append_ms"].tolist() == first
    assert sum(found.unknown.values()) == sum(event not in sent for event in events)
    assert {file.name for file in folder.iterdir()} == {"producer.parquet", "consumer.parquet"}


@given(st.lists(st.one_of(st.floats(0, 1e6), st.none()), max_size=60), st.integers(1, 9))
def test_blocks_make_what_the_whole_makes(tmp_path_factory, values, block):
    room = outcomes.Room(tmp_path_factory.mktemp("room"))
    answered = np.array([value is not None for value in values], int)
    columns = {"value": np.array([value or 0.0 for value in values]), "predictions": answered}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcomes, "BLOCK", block)
        patch.setattr(outcomes, "IN_MEMORY", 0)
        found = room.ordered(columns, lambda rows: 2 * rows["value"])
    assert found.tolist() == sorted(2 * value for value in values if value is not None)


def test_a_summary_is_the_same_in_small_blocks_on_disk(tmp_path, monkeypatch):
    loads = (
        Segment("constant", rate=500, warmup_s=2, measure_s=8),
        Segment("bursty", rate=300, peak_rate=900, warmup_s=2, between_s=4, burst_s=2, measure_s=12),
    )
    folder = write_run(tmp_path / "run" / "1", spec_of("flink", "onnx", *loads), lost=3, twice=50)
    backlog = write_run(
        tmp_path / "backlog" / "1", spec_of("flink", "onnx", Segment("backlog", rate=9000, measure_s=5))
    )
    whole = summarised(folder), summarised(backlog)
    monkeypatch.setattr(outcomes, "BLOCK", 777)
    monkeypatch.setattr(outcomes, "IN_MEMORY", 0)
    assert (summarised(folder), summarised(backlog)) == whole


def test_memory_does_not_grow_with_the_events(tmp_path):
    """All at once they would take 1.6 GB."""
    load = Segment("constant", rate=60_000, warmup_s=10, measure_s=40)
    folder = write_run(tmp_path / "run" / "1", spec_of("flink", "onnx", load))
    assert summarise(folder, tmp_path / "summary.json")[1] < 800 * 2**20
    assert json.loads((tmp_path / "summary.json").read_text())["accounting"]["distinct"] == 3_000_000


def test_a_table_that_is_out_of_order_is_refused(tmp_path):
    write_tables(tmp_path, [3, 2], [])
    with pytest.raises(CrayfishError, match=r"producer.parquet: is not in order of sequence; remove the run's folder"):
        outcomes.read(tmp_path)


def test_a_full_disk_is_told(tmp_path):
    room = outcomes.Room(tmp_path)
    with pytest.raises(CrayfishError, match=r"no room for 8\d+\.0 GB"):
        room.array(10**17, float)
    assert list(tmp_path.iterdir()) == []
