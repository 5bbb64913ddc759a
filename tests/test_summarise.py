"""Summaries of run folders whose metrics are known, and the speed at a million events."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from generated_runs import STAGES, spec_of, summarise, write_run

from crayfish.results.summaries import summarise as summarised
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import Segment

CONSTANT = Segment("constant", rate=1000, warmup_s=5, measure_s=15)


def summary_of(tmp_path, *loads, processor="flink", scorer="onnx", **how):
    return summarised(write_run(tmp_path / "the-run" / "2", spec_of(processor, scorer, *loads), **how))


def test_a_constant_load(tmp_path):
    summary = summary_of(tmp_path, CONSTANT, median_ms=5.0)
    assert (summary["run"], summary["repetition"], summary["fixed_cost_s"]) == ("the-run", "2", 21.5)
    (segment,) = summary["segments"]
    assert (segment["events"], segment["window_events"], segment["warnings"]) == (20_000, 15_000, [])
    assert segment["throughput"]["events_per_s"] == pytest.approx(1000, rel=0.01)
    received, appended, sent = segment["latency_ms"].values()
    assert received["n"] == 15_000
    assert received["p50"] == pytest.approx(5.3, rel=0.05)  # the median, and 0.3 ms from append to receipt
    assert appended["mean"] == pytest.approx(received["mean"] - 0.3 - 0.5, abs=0.05)  # truncated to 1 ms
    assert sent["mean"] == pytest.approx(
        appended["mean"], abs=0.05
    )  # due on a whole ms, so only the append is truncated
    assert received["p99"] < received["p99_9"] < received["max"]
    assert segment["latency_curve"]["ms"][-1] == pytest.approx(received["max"])
    assert 0 < segment["lateness"]["max_ms"] <= 0.1
    assert segment["cpu_us_per_event"] == {name: pytest.approx(cost, rel=0.01) for name, cost in STAGES.items()}
    assert not segment["backlog"]["grows"]
    assert segment["accounting"] == {
        "sent": 20_000,
        "received": 20_000,
        "distinct": 20_000,
        "lost": 0,
        "duplicated": 0,
        "wrong": 0,
        "unknown": 0,
    }
    json.dumps(summary, allow_nan=False)


def test_segments_are_apart_and_their_warnings_too(tmp_path):
    batched = Segment("constant", rate=200, batch_size=4, warmup_s=4, measure_s=10)
    summary = summary_of(tmp_path, CONSTANT, batched, warnings=("segment 2: other processes ran", "flink was killed"))
    first, second = summary["segments"]
    assert (first["warnings"], second["warnings"], summary["warnings"]) == (
        [],
        ["other processes ran"],
        ["flink was killed"],
    )
    assert second["events"] == 2800
    assert second["throughput"]["points_per_s"] == pytest.approx(4 * second["throughput"]["events_per_s"])
    assert second["latency_ms"]["received_minus_due"]["p99"] is not None
    assert second["latency_ms"]["received_minus_due"]["p99_9"] is None


def test_a_backlog_has_throughput_and_cost_and_no_latency(tmp_path):
    load = Segment("backlog", rate=4000, warmup_s=10, measure_s=20)
    (segment,) = summary_of(tmp_path, load, capacity=4000)["segments"]
    assert segment["throughput"]["events_per_s"] == pytest.approx(4000, rel=0.001)
    assert segment["window_s"] == pytest.approx(20, rel=0.01)
    assert (segment["latency_ms"], segment["lateness"], segment["backlog"]) == ({}, None, None)
    assert segment["latency_curve"] == {"quantile": [], "ms": []}
    assert segment["cpu_us_per_event"]["processor"] == pytest.approx(STAGES["processor"], rel=0.01)
    assert segment["warnings"] == []


def test_a_backlog_drained_too_soon_says_so(tmp_path):
    load = Segment("backlog", rate=4000, warmup_s=10, measure_s=20)
    (segment,) = summary_of(tmp_path, load, capacity=12_000)["segments"]
    assert segment["throughput"]["events_per_s"] == pytest.approx(12_000, rel=0.001)
    assert segment["warnings"] == ["measured for 5.0 s instead of 20 s"]


def test_a_few_events_far_apart_cover_the_time_up_to_the_next(tmp_path):
    load = Segment("constant", rate=0.2, warmup_s=14, measure_s=40)
    (segment,) = summary_of(tmp_path, load)["segments"]
    assert (segment["window_events"], segment["warnings"]) == (8, [])


def test_losses_and_duplicates_are_counted_and_first_receipts_measured(tmp_path):
    summary = summary_of(tmp_path, CONSTANT, lost=10, twice=7)
    assert (summary["accounting"]["lost"], summary["accounting"]["duplicated"]) == (10, 7)
    (segment,) = summary["segments"]
    assert segment["accounting"] == summary["accounting"]
    assert segment["window_events"] == 15_000
    assert segment["latency_ms"]["received_minus_due"]["n"] == 14_990


def test_the_share_of_late_events_is_there(tmp_path):
    (segment,) = summary_of(tmp_path, CONSTANT, late_ms=20.0)["segments"]
    assert segment["lateness"]["late_share"] == pytest.approx(0.5, abs=0.05)


def test_an_overloaded_system_is_a_warning(tmp_path):
    folder = write_run(tmp_path / "run" / "1", spec_of("flink", "onnx", CONSTANT))
    table = pq.read_table(folder / "consumer.parquet").to_pydict()
    start = min(table["output_append_ms"])
    slowed = np.array(table["output_append_ms"]) * 2 - start  # the answers come at half the rate
    pq.write_table(pa.table({**table, "output_append_ms": slowed}), folder / "consumer.parquet")
    (segment,) = summarised(folder)["segments"]
    assert segment["backlog"]["slope_events_per_s"] == pytest.approx(500, rel=0.01)
    assert segment["warnings"] == ["overloaded: the backlog grew by 500 events/s"]


def test_recovery_after_bursts(tmp_path):
    load = Segment("bursty", rate=100, warmup_s=5, measure_s=80, peak_rate=300, burst_s=10, between_s=30)
    (segment,) = summary_of(tmp_path, load)["segments"]
    assert segment["recovery_s"] == [0.0, None]  # after the second burst nothing is due


def test_a_paced_segment_has_a_series_of_seconds(tmp_path):
    segment, second = summary_of(tmp_path, CONSTANT, Segment("constant", rate=200, warmup_s=4, measure_s=10), lost=150)[
        "segments"
    ]
    series = segment["series"]
    assert series["second"] == list(range(20))
    assert series["due"] == [1000] * 20
    assert series["p50_ms"][:19] == pytest.approx([5.3] * 19, rel=0.1)
    assert series["p99_ms"][0] > 10 and series["p99_ms"][19] is None  # 850 answers
    assert series["appended"][1:19] == pytest.approx([1000] * 18, abs=15)
    assert sum(series["appended"]) <= 20_000 - 150
    assert second["series"]["due"] == [200] * 14
    assert second["series"]["p99_ms"] == [None] * 14


def test_a_backlog_has_no_series_and_a_bursty_load_has_bursts(tmp_path):
    bursty = Segment("bursty", rate=100, warmup_s=5, measure_s=75, peak_rate=300, burst_s=10, between_s=30)
    (segment,) = summary_of(tmp_path / "bursty", bursty, capacity=200.0)["segments"]
    assert segment["bursts_s"] == [(35.0, 45.0), (75.0, 80.0)]
    assert segment["series"]["due"][34:36] == [100, 300]
    assert max(segment["series"]["appended"]) <= 202
    assert segment["recovery_s"][0] == pytest.approx(10, abs=1)  # 1000 waiting events at 100/s
    assert segment["warnings"] == []  # though bursts overload it, and the first quarter is longer than the warm-up
    (drained,) = summary_of(tmp_path / "drained", Segment("backlog", rate=400, warmup_s=2, measure_s=4), capacity=400)[
        "segments"
    ]
    assert (drained["series"], drained["bursts_s"]) == (None, [])


def test_what_a_search_found_is_kept(tmp_path):
    (segment,) = summary_of(tmp_path, CONSTANT, sustainable=1234.5)["segments"]
    assert segment["sustainable_events_per_s"] == 1234.5


def test_a_run_without_kafka_costs_what_its_engine_does(tmp_path):
    spec = {**spec_of("flink", "onnx", CONSTANT), "transport": "in_engine"}
    summary = summarised(write_run(tmp_path / "the-run" / "1", spec))
    (segment,) = summary["segments"]
    assert segment["cpu_us_per_event"] == {"processor": pytest.approx(STAGES["processor"], rel=0.01)}
    assert list(summary["peak_memory_bytes"]) == ["processor"]


def test_nothing_answered_gives_nulls(tmp_path):
    (segment,) = summary_of(tmp_path, CONSTANT, lost=20_000)["segments"]
    assert segment["throughput"] == {"events_per_s": None, "points_per_s": None}
    assert segment["latency_ms"]["received_minus_due"] is None
    assert segment["cpu_us_per_event"] == dict.fromkeys(STAGES)
    assert segment["accounting"]["lost"] == 20_000


def test_a_broken_table_is_named(tmp_path):
    folder = write_run(tmp_path / "run" / "1", spec_of("flink", "onnx", CONSTANT))
    table = pq.read_table(folder / "consumer.parquet").drop_columns(["correct"])
    pq.write_table(table, folder / "consumer.parquet")
    with pytest.raises(CrayfishError, match=r"consumer\.parquet: .*correct"):
        summarised(folder)
    (folder / "consumer.parquet").write_bytes(b"nothing")
    with pytest.raises(CrayfishError, match="run it again"):
        summarised(folder)


def test_a_million_events_in_10_s_of_cpu_and_2_gb(tmp_path):
    load = Segment("constant", rate=20_000, warmup_s=10, measure_s=40)
    folder = write_run(tmp_path / "run" / "1", spec_of("flink", "onnx", load))
    seconds, usage = summarise(folder, tmp_path / "summary.json")
    used = usage.ru_utime + usage.ru_stime
    print(f"a million events: {seconds:.1f} s, {used:.1f} s of CPU, {usage.ru_maxrss / 2**20:.2f} GiB")
    assert used < 10
    assert usage.ru_maxrss < 2e9 / 1024
    assert json.loads((tmp_path / "summary.json").read_text())["accounting"]["distinct"] == 1_000_000
