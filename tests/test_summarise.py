"""Summaries of run folders whose metrics are known."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from generated_runs import STAGES, spec_of, write_run

from crayfish.results.summaries import summarise as summarised
from crayfish.results.tabulation import tabulate
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
    assert segment["throughput"]["paper_events_per_s"] == pytest.approx(1000, rel=0.01)
    received, appended, sent = (
        segment["latency_ms"][name] for name in ("received_minus_due", "append_minus_due", "append_minus_sent")
    )
    assert received["n"] == 15_000
    assert received["p50"] == pytest.approx(5.3, rel=0.05)  # the median, and 0.3 ms from append to receipt
    assert appended["mean"] == pytest.approx(received["mean"] - 0.3 - 0.5, abs=0.05)  # truncated to 1 ms
    assert sent["mean"] == pytest.approx(
        appended["mean"], abs=0.05
    )  # due on a whole ms, so only the append is truncated
    assert received["p99"] < received["p99_9"] < received["max"]
    assert segment["latency_curve"]["ms"][-1] == pytest.approx(received["max"])
    assert (segment["lateness"]["max_ms"], segment["lateness"]["late_share"]) == (0.5, 0)  # in the ms when it was due
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


def test_what_a_server_told_of_its_batches_is_carried_over(tmp_path):
    folder = write_run(tmp_path / "the-run" / "2", spec_of("flink", "triton", CONSTANT))
    assert "server_batch_size_mean" in tabulate("e", [summarised(folder)], "runs").columns
    manifest = json.loads((folder / "manifest.json").read_text())
    told = {"size_mean": 7.5, "size_p50": 8.0, "size_p99": None, "queue_ms_mean": 0.0}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "batches": {"server": told}}))
    (row,) = tabulate("e", [summarised(folder)], "runs").to_dicts()
    assert [row[f"server_batch_{name}"] for name in (*told, "queue_ms_p99")] == [7.5, 8.0, None, 0.0, None]


def test_the_parts_of_a_latency_are_its_sum(tmp_path):
    (segment,) = summary_of(tmp_path, Segment("constant", rate=999, warmup_s=5, measure_s=15), late_ms=2.0)["segments"]
    parts = {name: segment["latency_ms"][name] for name in ("generation", "processing", "delivery")}
    assert sum(part["mean"] for part in parts.values()) == pytest.approx(
        segment["latency_ms"]["received_minus_due"]["mean"], abs=1e-6
    )
    assert parts["generation"]["mean"] == pytest.approx(1.0, abs=0.05)  # uniform up to 2 ms
    assert parts["delivery"]["mean"] == pytest.approx(0.3, abs=0.05)
    assert segment["lateness"]["p99_ms"] == parts["generation"]["p99"]
    assert segment["warnings"] == []  # half of the 1 ms may be the truncated append's


def test_a_slow_generator_or_broker_is_not_charged_to_the_processor_unseen(tmp_path):
    (segment,) = summary_of(tmp_path, Segment("constant", rate=999, warmup_s=5, measure_s=15), late_ms=6.0)["segments"]
    (warning,) = segment["warnings"]
    assert warning.startswith("generator and broker took 3.0 ms (median) until an event was in the input topic")


def test_without_the_input_s_append_times_nothing_is_said_of_them(tmp_path):
    folder = write_run(tmp_path / "run" / "1", spec_of("flink", "onnx", CONSTANT), late_ms=20.0)
    table = pq.read_table(folder / "producer.parquet").to_pydict()
    pq.write_table(pa.table({**table, "input_append_ms": [-1] * 20_000}), folder / "producer.parquet")
    (segment,) = summarised(folder)["segments"]
    assert (segment["lateness"], segment["backlog"], segment["warnings"]) == (None, None, [])
    assert not {"generation", "processing", "delivery"} & {*segment["latency_ms"]}
    assert segment["latency_ms"]["received_minus_due"]["p50"] == pytest.approx(5.3, rel=0.05)


def test_a_warm_up_longer_than_the_measurement_is_left_out(tmp_path):
    load = Segment("constant", rate=100, warmup_s=30, measure_s=10)
    (segment,) = summary_of(tmp_path, load)["segments"]
    assert (segment["window_events"], segment["window_s"], segment["warnings"]) == (1000, 10, [])


def test_a_queue_that_drains_within_the_window_counts_by_wall_time_and_is_a_warning(tmp_path):
    """Between the first and the last append of the events due in it, this reads 2 410 of the 2 048 offered or so."""
    load = Segment("constant", rate=2048, warmup_s=11, measure_s=12)

    def answer(due, partition):
        return due + np.interp(due, due[0] + np.array([11, 23]) * 10**9, [1.8e9, 0.5e9]).astype(np.int64)

    (segment,) = summary_of(tmp_path, load, answer=answer)["segments"]
    assert segment["throughput"]["events_per_s"] == pytest.approx(2048 * (12 + 1.8 - 0.5) / 12, rel=0.01)
    backlog, latency = segment["warnings"]
    assert backlog.startswith("not steady: the backlog fell by ")
    assert latency.startswith("not steady: the median latency fell by 68%")
    assert segment["trend"]["change"] < -0.6 and segment["trend"]["drifts"]


def test_batches_at_the_edges_of_the_window_do_not_raise_throughput(tmp_path):
    """Between the first and the last append of the events due in it, this reads 500 of the 333 offered."""
    load = Segment("poisson", rate=333, batch_size=7, warmup_s=6, measure_s=4.5)

    def answer(due, partition):
        return due[0] + (1 + (due - due[0]) // 1_500_000_000) * 1_500_000_000  # every 1.5 s what has come until then

    (segment,) = summary_of(tmp_path, load, answer=answer)["segments"]
    assert segment["throughput"]["events_per_s"] == pytest.approx(333, rel=0.1)
    assert segment["throughput"]["points_per_s"] == 7 * segment["throughput"]["events_per_s"]
    assert segment["cpu_us_per_event"]["processor"] == pytest.approx(STAGES["processor"], rel=0.4)  # samples at 0.5 s


def test_a_backlog_is_measured_while_all_instances_have_work(tmp_path):
    load = Segment("backlog", rate=20_000, warmup_s=4, measure_s=8)

    def answer(due, partition):
        appended = due.copy()
        for instance, rate in enumerate((10_000, 8_000)):
            own = np.flatnonzero(partition % 2 == instance)
            appended[own] += np.arange(1, len(own) + 1) * int(1e9 / rate)
        return appended

    folder = write_run(tmp_path / "run" / "1", spec_of("flink", "onnx", load, parallelism=2), answer=answer)
    (segment,) = summarised(folder)["segments"]
    assert segment["throughput"]["events_per_s"] == pytest.approx(18_000, rel=0.001)
    assert segment["window_s"] == pytest.approx(8, abs=0.01)
    assert segment["throughput"]["paper_events_per_s"] < 16_000
    assert segment["cpu_us_per_event"]["processor"] == pytest.approx(STAGES["processor"], rel=0.01)
    assert segment["warnings"] == []


def test_throughput_that_falls_within_a_window_is_a_warning(tmp_path):
    load = Segment("backlog", rate=4000, warmup_s=10, measure_s=20)

    def answer(due, partition):
        return due + (30e9 * np.linspace(0, 1, len(due)) ** 1.3).astype(np.int64)

    (segment,) = summary_of(tmp_path, load, answer=answer)["segments"]
    (warning,) = segment["warnings"]
    assert warning.startswith("not steady: throughput fell by 2")


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
    assert segment["warnings"] == []  # though bursts overload it
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
    assert segment["throughput"] == {"events_per_s": 0, "points_per_s": 0, "paper_events_per_s": None}
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


def changed(file, change) -> None:
    """Change a run's JSON file in place."""
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def test_the_machines_speed_stands_beside_each_window(tmp_path):
    (segment,) = summary_of(tmp_path, CONSTANT, speed=0.8)["segments"]
    assert segment["machine"]["speed"] == 0.8 and segment["machine"]["instructions"] is None


def test_what_an_older_version_called_a_peak_is_the_memory_between_the_loads(tmp_path):
    folder = write_run(tmp_path / "run" / "1", spec_of("flink", "onnx", CONSTANT))

    def older(samples: dict) -> None:
        del samples["machine"]["speed"]
        for stage in samples["stages"].values():
            del stage["rss_bytes_peak"]
            stage["pss_bytes_peak"] = stage.pop("pss_bytes")

    changed(folder / "processor.json", older)
    summary = summarised(folder)
    assert (summary["memory_bytes"]["processor"], summary["peak_memory_bytes"]["processor"]) == (512 * 2**20, None)
    assert summary["segments"][0]["machine"]["speed"] is None


@pytest.mark.parametrize("offset_ms", [-250.0, 40.0])
def test_append_times_of_a_broker_elsewhere_are_told_by_the_runs_clock(tmp_path, offset_ms):
    folder = write_run(tmp_path / "run" / "1", spec_of("flink", "onnx", CONSTANT))
    (right,) = summarised(folder)["segments"]
    for name, columns in (("producer", ["input_append_ms"]), ("consumer", ["output_append_ms"])):
        table = pq.read_table(folder / f"{name}.parquet")
        for column in columns:
            shifted = pc.add(table[column], int(offset_ms))
            table = table.set_column(table.column_names.index(column), column, shifted)
        pq.write_table(table, folder / f"{name}.parquet")
    clock = {"offset_ms": offset_ms, "uncertainty_ms": 0.4, "probes": 80}
    changed(folder / "manifest.json", lambda manifest: manifest.update(clock={"broker": clock}))
    (segment,) = summarised(folder)["segments"]
    assert segment == right

    changed(folder / "manifest.json", lambda manifest: manifest["clock"]["broker"].update(uncertainty_ms=3.0))
    summary = summarised(folder)
    (segment,) = summary["segments"]
    assert set(segment["latency_ms"]) == {"received_minus_due", "processing"} and segment["lateness"] is None
    assert segment["latency_ms"]["processing"] == right["latency_ms"]["processing"]
    assert summary["warnings"][0].startswith("the broker's clock is known to 3.0 ms only")


@pytest.mark.parametrize("part", ["generator", "sink"])
def test_what_a_clock_on_another_node_does_not_tell_is_left_out(tmp_path, part):
    folder = write_run(tmp_path / "run" / "1", spec_of("flink", "onnx", CONSTANT))
    known = {"offset_ms": 0.1, "uncertainty_ms": 0.4, "probes": 400}
    right = summarised(folder)
    changed(
        folder / "manifest.json", lambda manifest: manifest.update(clock={"anchor_ns": 1, "broker": None, part: known})
    )
    assert summarised(folder) == right
    changed(folder / "manifest.json", lambda manifest: manifest["clock"][part].update(offset_ms=-0.7))
    summary = summarised(folder)
    (segment,) = summary["segments"]
    told = {
        "generator": {"processing", "delivery"},
        "sink": {"append_minus_due", "append_minus_sent", "generation", "processing"},
    }
    assert set(segment["latency_ms"]) == told[part] and segment["throughput"] == right["segments"][0]["throughput"]
    assert set(segment["series"]["p50_ms"]) == {None} and segment["trend"] is None
    assert summary["warnings"] == [
        f"the {part}'s clock is known to 1.1 ms only: latencies by it and another are left out"
    ]
